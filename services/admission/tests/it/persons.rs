//! Admission knows of persons only when staff were at work, and keeps nobody.

use admission::commands::shift::open_shift;
use admission::consumers::person::PERSONS;
use kit::access::{Caller, Who};
use kit::consumer::Handler;
use kit::event::Record;
use prost::{Message, Name};
use proto::identity::erasure_changed::State;
use proto::identity::{DataRequested, ErasureChanged, PersonErased};
use proto::v1::{PersonDataPart, PersonForgotten, PersonHeld};
use serde_json::Value;
use uuid::Uuid;

use crate::world::{World, details};

async fn hear<M: Message + Name, A: Message + Name + Default>(world: &World, message: &M) -> A {
    #[derive(sea_orm::FromQueryResult)]
    struct Row {
        payload: Vec<u8>,
    }
    let ctx = world.ctx();
    let records = [Record {
        topic: "identity.v1".to_owned(),
        partition: 0,
        offset: 0,
        epoch: 1,
        pseq: 1,
        id: Uuid::from_u128(1),
        kind: M::full_name(),
        key: Vec::new(),
        version: 1,
        must_understand: false,
        at: ctx.clock.now(),
        traceparent: None,
        payload: message.encode_to_vec(),
    }];
    let told = async |tx: &kit::Tx| PERSONS.apply(tx, &records).await;
    ctx.db.tx("persons", told).await.unwrap();
    let sql = "SELECT payload FROM outbox WHERE kind = $1 ORDER BY id DESC LIMIT 1";
    let row: Option<Row> = ctx.db.one(sql, [A::full_name().into()]).await.unwrap();
    A::decode(row.unwrap().payload.as_slice()).unwrap()
}

fn id_of(caller: &Caller) -> Vec<u8> {
    match caller.who {
        Who::Member { member, .. } => member.0.as_bytes().to_vec(),
        Who::Anonymous => panic!("signed in"),
    }
}

/// She reads her shifts; forgotten she is at work nowhere.
#[tokio::test]
async fn staff_are_told_their_shifts_and_forgotten_at_work() {
    let world = World::new().await;
    let venue = world.venue(details("博物馆")).await.id;
    open_shift(world.ctx(), &world.staff, venue, None)
        .await
        .unwrap();
    let id = id_of(&world.staff);
    let asked = DataRequested {
        id: vec![7; 16],
        version: 1,
        member_id: id.clone(),
        member_ids: vec![id.clone()],
    };
    let answer: PersonDataPart = hear(&world, &asked).await;
    let rows: Vec<Value> = serde_json::from_slice(&answer.json).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["section"], "shift");
    let told = ErasureChanged {
        member_id: id.clone(),
        version: 2,
        member_ids: vec![id.clone()],
        state: State::Closing.into(),
    };
    let answer: PersonHeld = hear(&world, &told).await;
    assert_eq!(
        (answer.service.as_str(), answer.holds),
        ("admission", vec![])
    );
    let erased = PersonErased {
        member_id: id.clone(),
        version: 3,
        member_ids: vec![id],
        erased_at: 0,
    };
    let answer: PersonForgotten = hear(&world, &erased).await;
    assert_eq!(answer.version, 3);
    let open = "SELECT count(*) AS count FROM shift WHERE closed_at IS NULL";
    assert_eq!(world.count(open).await, 0);
}
