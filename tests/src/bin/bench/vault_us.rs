//! `vault.read_us`: how long the vault takes to open one person: her data key out of the
//! key-encrypting key, and by it her name, the number of her document and her phone. On one core,
//! without the database: what a row costs there is the same whether it is sealed or not.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use identity::vault::{Cell, Vault};
use kit::{Clock, Ids};
use uuid::Uuid;

use crate::figure::{Better, Figure};
use crate::world::Bench;

/// What is asked, in microseconds.
const READ_US_MAX: f64 = 200.0;
/// People opened together: long beside the clock's own cost, short beside a time slice.
const BATCH_PEOPLE: usize = 50;
const BATCHES: usize = 400;
/// Batches before the timed ones.
const WARM_BATCHES: usize = 40;
const CELLS: [(&str, &str, &str); 3] = [
    ("person", "name", "欧阳晓晓"),
    ("document", "number", "110105194912310021"),
    ("login_method", "subject", "13812345678"),
];

/// A person as her rows keep her.
struct Sealed {
    member: Uuid,
    data_key: Vec<u8>,
    cells: Vec<(Cell, Vec<u8>)>,
}

/// The part `vault`.
///
/// # Errors
/// When something does not open that was just sealed.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let settings: identity::Settings = bench.config().section(identity::NAME)?;
    let vault = settings.vault()?;
    let each_us = tokio::task::spawn_blocking(move || measure(&vault)).await??;
    let at = |share: f64| {
        let last = each_us.len().saturating_sub(1);
        let places = each_us.iter().zip(0_u32..);
        let wanted = f64::from(u32::try_from(last).unwrap_or_default()) * share;
        places
            .take_while(|(_, place)| f64::from(*place) <= wanted)
            .last()
            .map_or(f64::NAN, |(value, _)| *value)
    };
    Ok(vec![
        Figure::new("vault.read_us", at(0.5), "µs", Better::Lower)
            .floor(READ_US_MAX)
            .note(format!(
                "p99 of batches of {BATCH_PEOPLE}: {:.1} µs; a data key and {} cells",
                at(0.99),
                CELLS.len()
            )),
    ])
}

/// Microseconds of one person, the mean of each batch, ascending.
fn measure(vault: &Vault) -> Result<Vec<f64>> {
    let ids = Ids::random();
    let people: Result<Vec<Sealed>> = (0..BATCH_PEOPLE).map(|_| seal(vault, &ids)).collect();
    let people = people?;
    let mut each_us = Vec::with_capacity(BATCHES);
    for batch in 0..WARM_BATCHES + BATCHES {
        let began = Instant::now();
        for person in &people {
            let key = vault.data_key(person.member, black_box(&person.data_key))?;
            for (cell, sealed) in &person.cells {
                black_box(key.open_text(*cell, black_box(sealed))?);
            }
        }
        if batch >= WARM_BATCHES {
            let count = f64::from(u32::try_from(BATCH_PEOPLE)?);
            each_us.push(began.elapsed().as_secs_f64() * 1e6 / count);
        }
    }
    each_us.sort_by(f64::total_cmp);
    Ok(each_us)
}

fn seal(vault: &Vault, ids: &Ids) -> Result<Sealed> {
    let new = || ids.uuid(Clock::System.now());
    let member = new();
    let (key, data_key) = vault.new_data_key(ids, member)?;
    let cells = CELLS.iter().map(|(table, column, text)| {
        let cell = Cell::new(table, column, new());
        let sealed = key.seal(ids, cell, text.as_bytes());
        Ok((cell, sealed.context("a cell could not be sealed")?))
    });
    Ok(Sealed {
        member,
        data_key,
        cells: cells.collect::<Result<_>>()?,
    })
}
