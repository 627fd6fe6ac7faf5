//! What somebody asks for next, by what she knows: people by what they were answered, a phone by
//! what it holds, a gate by what it has decided.

use admission::commands::shift::open_shift;
use anyhow::Result;
use credential::rules::Direction;
use identity::commands::credentials::mint;
use kit::Error;
use kit::types::{EntitlementId, OrderId};
use passes::commands::Shop;
use passes::domain::ProductId;
use rand::Rng;
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::acts::{Act, Answer, MERGED_NOW, Taken};
use crate::play::{Asked, Play};
use crate::town::{BUYERS, MERGED, SURVIVOR};
use crate::world::Service;

/// Scans that a manager looks at, the last first: what is older than half an hour is refused.
const SCANS_SEEN_MAX: usize = 6;
/// Of a hundred acts, those by which people use their rights and operators make one of two records.
const RIGHTS_PERCENT: u32 = 8;
/// Buyers who may wish to be forgotten: the others go on.
const LEAVERS: usize = 2;

/// A pass somebody was told she has bought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bought {
    pub(crate) buyer: usize,
    pub(crate) pass: EntitlementId,
    pub(crate) order: OrderId,
}

impl Play<'_> {
    pub(crate) fn pick<'t, T>(&mut self, from: &'t [T]) -> Option<&'t T> {
        match from.len() {
            0 => None,
            count => from.get(self.random.random_range(0..count)),
        }
    }

    /// Passes that buyers were told they have.
    pub(crate) fn bought(&self) -> Vec<Bought> {
        let told = |asked: &Asked| match (&asked.act, &asked.answer) {
            (Act::Buy { buyer, .. }, Answer::Done { id, said }) => Some(Bought {
                buyer: self.seat(*buyer),
                pass: id.parse().ok()?,
                order: said.parse().ok()?,
            }),
            _ => None,
        };
        self.log.iter().filter_map(told).collect()
    }

    pub(crate) async fn choose(&mut self) -> Result<Option<Act>> {
        if self.random.random_range(0..100) < RIGHTS_PERCENT {
            return Ok(Some(self.right()));
        }
        let bought = self.bought();
        let one = self.pick(&bought).copied();
        let product = self.product();
        Ok(match (self.random.random_range(0..100), one) {
            (0..17, one) => {
                let renews = one.filter(|_| self.random.random_range(0..8) == 0);
                Some(Act::Buy {
                    buyer: renews.map_or_else(|| self.somebody(), |it| it.buyer),
                    product,
                    renews: renews.map(|it| it.pass),
                })
            }
            (17..44, _) => self.payment(&bought).await?,
            (44..48, Some(it)) => Some(Act::Cancel {
                buyer: it.buyer,
                order: it.order,
            }),
            (48..53, Some(it)) => {
                let it = self.likely(&bought, "ready").await?.unwrap_or(it);
                Some(Act::Activate {
                    buyer: it.buyer,
                    pass: it.pass,
                })
            }
            (53..60, Some(it)) => Some(Act::Refund {
                buyer: it.buyer,
                pass: it.pass,
            }),
            (60..64, Some(it)) => {
                let it = self.likely(&bought, "active").await?.unwrap_or(it);
                Some(Act::Custody {
                    pass: it.pass,
                    what: self.taken(),
                })
            }
            (64..66, _) => Some(Act::Shop {
                product,
                what: [Shop::Stop, Shop::Resume, Shop::Resume][self.random.random_range(0..3)],
            }),
            (66..92, Some(it)) => self.scan(it).await?,
            (92..97, _) => self.by_hand().await,
            (97..100, _) => Some(self.role()),
            (_, _) => None,
        })
    }

    /// Half of the time a pass in this state, where there is one: of any pass, nearly all that is
    /// asked is refused.
    async fn likely(&mut self, bought: &[Bought], state: &str) -> Result<Option<Bought>> {
        #[derive(FromQueryResult)]
        struct Row {
            id: i64,
        }
        if self.random.random_range(0..2) == 0 {
            return Ok(None);
        }
        let sql = format!("SELECT id FROM pass WHERE state = '{state}' ORDER BY id");
        let rows: Vec<Row> = self.world.rows(Service::Passes, &sql).await?;
        let picked = self.pick(&rows).map(|row| EntitlementId::from_i64(row.id));
        Ok(bought.iter().find(|it| Some(it.pass) == picked).copied())
    }

    pub(crate) fn somebody(&mut self) -> usize {
        let buyer = self.random.random_range(0..BUYERS);
        self.seat(buyer)
    }

    pub(crate) fn product(&mut self) -> ProductId {
        self.town.products[self.random.random_range(0..self.town.products.len())]
    }

    fn taken(&mut self) -> Taken {
        let all = [
            Taken::Freeze,
            Taken::Unfreeze,
            Taken::VoidFull,
            Taken::VoidNothing,
        ];
        all[self.random.random_range(0..4)]
    }

    /// A payment of an order that billing has heard of, mostly: who asks earlier waits for
    /// seconds, which here would be real ones.
    async fn payment(&mut self, bought: &[Bought]) -> Result<Option<Act>> {
        #[derive(FromQueryResult)]
        struct Row {
            id: Uuid,
        }
        let sql = "SELECT id FROM orders ORDER BY (state = 'open') DESC, id DESC LIMIT 4";
        let rows: Vec<Row> = self.world.rows(Service::Billing, sql).await?;
        let Some(row) = self.pick(&rows) else {
            return Ok(None);
        };
        let mine = bought.iter().find(|it| it.order.0 == row.id);
        Ok(mine.map(|it| Act::Pay {
            buyer: it.buyer,
            order: it.order,
        }))
    }

    /// Somebody shows what her phone has, or could have now.
    async fn scan(&mut self, it: Bought) -> Result<Option<Act>> {
        let identity = &self.world.union.identity;
        let caller = &self.town.buyers[it.buyer];
        if !self.wallet.contains_key(&it.pass) || self.random.random_range(0..4) == 0 {
            let minted = match mint(&identity.ctx, &identity.vault, caller, it.pass).await {
                // She was forgotten, or is somebody else's other record.
                Err(Error::Unauthenticated(_)) => return Ok(None),
                minted => minted?,
            };
            if let Some(minted) = minted {
                self.wallet.insert(it.pass, minted.text);
            }
        }
        let Some(text) = self.wallet.get(&it.pass).cloned() else {
            return Ok(None);
        };
        let at = self.random.random_range(0..self.town.devices.len());
        let direction = match self.random.random_range(0..4) {
            0 => Direction::Exit,
            _ => Direction::Entry,
        };
        let device = &mut self.town.devices[at];
        device.seq += 1;
        Ok(Some(Act::Scan {
            device: at,
            seq: device.seq,
            pass: it.pass,
            text,
            direction,
        }))
    }

    /// The manager looks at what a gate decided, and goes to work there first.
    async fn by_hand(&mut self) -> Option<Act> {
        let scans: Vec<(usize, Uuid, bool)> = self
            .log
            .iter()
            .rev()
            .filter_map(|asked| match (&asked.act, &asked.answer) {
                (Act::Scan { device, .. }, Answer::Done { id, said }) => {
                    Some((*device, id.parse().ok()?, said.starts_with("admit")))
                }
                _ => None,
            })
            .take(SCANS_SEEN_MAX)
            .collect();
        let (device, id, admitted) = *self.pick(&scans)?;
        let (venue, gate) = (
            self.town.devices[device].venue,
            self.town.devices[device].gate,
        );
        let ctx = self.world.ctx(Service::Admission);
        let opened = open_shift(ctx, &self.town.manager, venue, Some(gate)).await;
        self.say(format!("a shift {:?}", opened.map(|shift| shift.id).ok()));
        Some(if admitted {
            Act::Void { redemption: id }
        } else {
            Act::Override { denial: id }
        })
    }

    /// Whoever is known under another record by now acts as that one.
    fn seat(&self, buyer: usize) -> usize {
        if buyer == MERGED && self.are_one() {
            SURVIVOR
        } else {
            buyer
        }
    }

    /// Whether the twins were last said to be one, and not two again.
    fn are_one(&self) -> bool {
        let said = |asked: &Asked| match (&asked.act, &asked.answer) {
            (Act::Merge { .. }, Answer::Done { said, .. }) if said == MERGED_NOW => Some(true),
            (Act::Split { .. }, Answer::Done { .. }) => Some(false),
            _ => None,
        };
        self.log.iter().rev().find_map(said).unwrap_or(false)
    }

    fn right(&mut self) -> Act {
        let buyer = self.somebody();
        match self.random.random_range(0..14) {
            0..5 => Act::Consent {
                buyer,
                given: self.random.random_range(0..3) > 0,
            },
            5..8 => Act::Export { buyer },
            8..10 => self.wish(),
            _ => self.twins(),
        }
    }

    /// Somebody wishes to be forgotten, or thinks better of it.
    fn wish(&mut self) -> Act {
        let buyer = self.random.random_range(0..LEAVERS);
        let wished = self.log.iter().any(|asked| {
            let hers = matches!(&asked.act, Act::Erase { buyer: who } if *who == buyer);
            hers && asked.answer.id().is_some()
        });
        if wished && self.random.random_range(0..2) == 0 {
            Act::Recall { buyer }
        } else {
            Act::Erase { buyer }
        }
    }

    /// Of the twins one is made, and seldom two again.
    fn twins(&mut self) -> Act {
        let by_second = self.random.random_range(0..2) == 0;
        if self.are_one() && self.random.random_range(0..3) == 0 {
            Act::Split { by_second }
        } else {
            Act::Merge { by_second }
        }
    }

    fn role(&mut self) -> Act {
        let mut asked = self.log.iter().rev();
        let granted = asked.find_map(|asked| {
            let id = asked.answer.id().and_then(|id| id.parse().ok());
            id.filter(|_| matches!(asked.act, Act::GrantStaff))
        });
        match granted {
            Some(role) if self.random.random_range(0..2) == 0 => Act::WithdrawStaff { role },
            _ => Act::GrantStaff,
        }
    }
}
