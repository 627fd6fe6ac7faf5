//! What is read for an answer, the owner first: a pass is its holder's and the operators'; to
//! everybody else it is absent. Nothing here locks or writes.

mod passes;
mod products;
mod venues;

pub use passes::cursor_of_pass;
pub use products::{
    CATALOGUE_ROWS_MAX, ProductView, TERMS_HELD_MAX, TermsMemory, page_of_products, product_cursor,
};
pub use venues::{UseView, VenueView, VisitDayView, cursor_of_use, cursor_of_venue};
