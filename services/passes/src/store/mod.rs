//! The tables, and nothing but the tables: rows become domain values here and go back. Every
//! statement that locks or writes is in this folder; what only reads for an answer is in
//! `queries`.

mod holder_list;
mod pass;
mod pass_rows;
mod person;
mod product;
mod replica;
mod reservation;
mod sale;
mod venue;

pub use holder_list::{count_list, holders_in};
pub use pass::{
    add_reissue, insert, load, load_all, lock, lock_after, lock_all, lock_by_orders, persons,
    reissued_since, renewed, save, save_all,
};
pub use pass_rows::{COLUMNS, PassRow};
pub use person::{data_of_person, forget_person, holds_of_person, lock_of_person};
pub use product::{
    ProductRow, StoredTerms, TERMS_COLUMNS, load_product, lock_after as lock_products_after,
    lock_product, publish_draft, save_draft, save_state, stored_terms, terms_of, versions,
};
pub use replica::{
    FreshOrder, NewUse, NewVenue, erased, passes_known, put_orders, put_uses, put_venues,
    uses_counted,
};
pub use reservation::{
    RESERVED, ReservationRow, VISITS, VISITS_MAX, VisitRow, cancel, cancelled_since, is_opened,
    lock_places, open_days, province, release_after, reserve, reserved, visits,
};
pub use sale::{
    Moved, add_bought, add_held, bought, create_stock, in_union, lock_stock, move_stock,
    release_members, set_sale_limit,
};
pub use venue::{VENUE_COLUMNS, VenueRow, venue};
