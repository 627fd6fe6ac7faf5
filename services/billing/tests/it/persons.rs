//! What billing tells identity of a person, what keeps her, and that her money stays on the books.

use billing::consumers::person::PERSONS;
use kit::consumer::Handler;
use kit::event::Record;
use prost::{Message, Name};
use proto::identity::erasure_changed::State;
use proto::identity::{DataRequested, ErasureChanged, PersonErased};
use proto::v1::{PersonDataPart, PersonHeld};
use serde_json::Value;
use uuid::Uuid;

use crate::world::{World, member};

async fn hear<M: Message + Name>(world: &World, message: &M) {
    let record = world.record(&M::full_name(), Uuid::nil(), message.encode_to_vec());
    let records = [Record {
        topic: "identity.v1".to_owned(),
        ..record
    }];
    assert!(PERSONS.handles(&records[0].kind));
    let told = async |tx: &kit::Tx| PERSONS.apply(tx, &records).await;
    world.db.ctx.db.tx("persons", told).await.unwrap();
}

async fn last<M: Message + Name + Default>(world: &World) -> M {
    #[derive(sea_orm::FromQueryResult)]
    struct Row {
        payload: Vec<u8>,
    }
    let sql = "SELECT payload FROM outbox WHERE kind = $1 ORDER BY id DESC LIMIT 1";
    let row: Option<Row> = world
        .db
        .ctx
        .db
        .one(sql, [M::full_name().into()])
        .await
        .unwrap();
    M::decode(row.unwrap().payload.as_slice()).unwrap()
}

async fn kept(world: &World, version: i64) -> Vec<(String, i64)> {
    let id = member(1).as_bytes().to_vec();
    let told = ErasureChanged {
        member_id: id.clone(),
        version,
        member_ids: vec![id],
        state: State::Closing.into(),
    };
    hear(world, &told).await;
    let answer: PersonHeld = last(world).await;
    assert_eq!(
        (answer.service.as_str(), answer.version),
        ("billing", version)
    );
    let hold = |it: proto::v1::person_held::Hold| (it.kind, it.count);
    answer.holds.into_iter().map(hold).collect()
}

/// An open order keeps her with its share; paid, nothing does, and forgotten or not, each fen of it
/// stays.
#[tokio::test]
async fn money_keeps_a_person_while_it_is_open() {
    let world = World::start().await;
    assert!(kept(&world, 1).await.is_empty());
    let open = world.order(&[20_000]).await;
    let both = [("open_order".to_owned(), 1), ("open_share".to_owned(), 1)];
    assert_eq!(kept(&world, 2).await, both);
    assert_eq!(kept(&world, 2).await, both, "asked again, answered again");
    world.apply(&[world.lapsed(open.id)]).await.unwrap();
    let closed = async || world.order_state(open.id).await == "closed";
    world.until("closed", closed).await;
    let paid = world.paid(&[10_000]).await;
    assert_eq!(world.order_state(paid.id).await, "paid");
    assert!(kept(&world, 3).await.is_empty());

    let id = member(1).as_bytes().to_vec();
    let asked = DataRequested {
        id: vec![7; 16],
        version: 1,
        member_id: id.clone(),
        member_ids: vec![id.clone()],
    };
    hear(&world, &asked).await;
    let answer: PersonDataPart = last(&world).await;
    let rows: Vec<Value> = serde_json::from_slice(&answer.json).unwrap();
    let mut sections: Vec<&str> = rows
        .iter()
        .map(|it| it["section"].as_str().unwrap())
        .collect();
    sections.sort_unstable();
    sections.dedup();
    assert_eq!(sections, ["order", "order_line", "payment"]);

    let erased = PersonErased {
        member_id: id.clone(),
        version: 4,
        member_ids: vec![id],
        erased_at: 0,
    };
    hear(&world, &erased).await;
    assert_eq!(world.order_state(paid.id).await, "paid");
    assert_eq!(world.count("payment WHERE code_url IS NOT NULL").await, 0);
    world.verify().await;
}
