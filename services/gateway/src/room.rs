//! Room for requests being answered. Beyond a bound more are refused at once: what could not be
//! answered in time would only be asked again, and all would wait for answers that nobody takes.
//! A place is taken when the whole of a request has arrived, so that who sends slowly holds none,
//! and given back when its answer is gone or its client is. It is a bound of this process alone
//! and knows nothing of how often somebody asks: that is the limiter's.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounterVec, Opts, Registry};

/// The requests of people being answered at once, at most. Those that wait for a payment's code do
/// so for up to 5 s each; others take tens of milliseconds.
const PEOPLE_MAX: usize = 256;
/// The requests of gates being answered at once, at most: apart, so that no run on tickets keeps a
/// queue waiting at a gate. Whether a gate's assertion is true is seen only later.
const GATES_MAX: usize = 256;
/// Those of one address, at most, in either: half, so that none has all of it.
const ADDRESS_MAX: usize = 128;
/// When to ask again, in seconds.
pub(crate) const RETRY_S: u64 = 1;

/// Whose requests these are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Askers {
    People,
    /// They carry a gate's assertion, true or not.
    Gates,
}

/// The room of one process, shared by all its threads.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    people: Arc<Mutex<Taken>>,
    gates: Arc<Mutex<Taken>>,
    turned_away: IntCounterVec,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Room {
    /// Empty.
    ///
    /// # Errors
    /// When its counter is named wrongly, which a test would meet.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let told = Opts::new(
            "bashu_gateway_turned_away_total",
            "Requests refused since too many were being answered, by who asked",
        );
        Ok(Self {
            people: Arc::default(),
            gates: Arc::default(),
            turned_away: IntCounterVec::new(told, &["of"])?,
        })
    }

    /// Shows what was turned away among these figures.
    ///
    /// # Errors
    /// When something else has the name.
    pub(crate) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.turned_away.clone()))
    }

    /// A place for one more request; `None` when there is none.
    pub(crate) fn take(&self, askers: Askers, address: IpAddr) -> Option<Place> {
        let (of, most, name) = match askers {
            Askers::People => (&self.people, PEOPLE_MAX, "people"),
            Askers::Gates => (&self.gates, GATES_MAX, "gates"),
        };
        let is_taken = {
            let mut taken = of.lock().unwrap_or_else(PoisonError::into_inner);
            let is_free = taken.all < most
                && taken.by_address.get(&address).copied().unwrap_or(0) < ADDRESS_MAX;
            if is_free {
                taken.all += 1;
                *taken.by_address.entry(address).or_default() += 1;
            }
            is_free
        };
        if is_taken {
            return Some(Place {
                of: Arc::clone(of),
                address,
            });
        }
        self.turned_away.with_label_values(&[name]).inc();
        None
    }
}

/// One request's place; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    of: Arc<Mutex<Taken>>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Entry::Occupied(mut held) = taken.by_address.entry(self.address) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn filled(room: &Room) -> Vec<Place> {
        (0..PEOPLE_MAX)
            .map(|number| {
                let last = if number < ADDRESS_MAX { 1 } else { 2 };
                room.take(Askers::People, address(last)).unwrap()
            })
            .collect()
    }

    /// People and gates have room of their own; who is turned away takes none and is counted.
    #[test]
    fn beyond_the_bound_there_is_no_room_until_one_ends() {
        let room = Room::new().unwrap();
        let mut people = filled(&room);
        assert!(room.take(Askers::People, address(3)).is_none());
        assert!(room.take(Askers::People, address(3)).is_none());
        assert!(room.take(Askers::Gates, address(3)).is_some());
        people.pop();
        assert!(room.take(Askers::People, address(3)).is_some());
        let counted = room.turned_away.with_label_values(&["people"]).get();
        assert_eq!(counted, 2);
        drop(people);
        let taken = room.people.lock().unwrap();
        assert_eq!((taken.all, taken.by_address.len()), (0, 0));
    }

    /// One address leaves half of the room to others.
    #[test]
    fn no_address_has_all_the_room() {
        let room = Room::new().unwrap();
        let one: Vec<_> = (0..ADDRESS_MAX)
            .map(|_| room.take(Askers::Gates, address(1)).unwrap())
            .collect();
        assert!(room.take(Askers::Gates, address(1)).is_none());
        assert!(room.take(Askers::Gates, address(2)).is_some());
        drop(one);
        assert!(room.take(Askers::Gates, address(1)).is_some());
    }
}
