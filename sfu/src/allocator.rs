//! The division of what a subscriber's network carries, among the pictures it wants. Sound takes no part: it is small,
//! and a meeting without it is none.

use crate::bwe::Bitrate;

/// A step up must fit with this much to spare: otherwise the first busy second takes it back.
const UP: f64 = 1.08;

/// A layer that is sent already stays while it exceeds its share by less than this: rates of encoders waver.
const STAY: f64 = 1.1;

/// The lowest layer stays while it exceeds its share by less than this. It is given up late: a slow picture is better
/// than none.
const STAY_VISIBLE: f64 = 1.3;

/// One picture's claim on its subscriber's network: what its layers cost, and how early it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// When the picture is served: a higher priority first: see [`Priority`].
    pub priority: Priority,
    /// Bits per second of each layer that exists now; `None`: the layer does not exist.
    pub layers: [Option<Bitrate>; 3],
    /// The highest layer wanted.
    pub wanted: u8,
    /// The highest layer that the picture may have now; `None`: paused.
    pub current: Option<u8>,
}

/// The order in which pictures are served when the network does not carry all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Small pictures, by the layer wanted.
    Camera(u8),
    /// A shared screen: its text is what people talk about.
    Screen,
}

/// The highest layer each picture may have; `None`: paused. `shares` has the length of `demands`, which are in a stable
/// order: it decides between equals.
///
/// First everybody gets the lowest layer, in the order of priority; then what is left lifts one picture after the
/// other by a layer, again in this order, so that no face is a postage stamp while another is razor-sharp.
pub fn divide(budget: Bitrate, demands: &[Demand], shares: &mut Vec<Option<u8>>) {
    shares.clear();
    shares.resize(demands.len(), None);
    let mut left = budget as f64;
    for round in 0..3 {
        for priority in [
            Priority::Screen,
            Priority::Camera(2),
            Priority::Camera(1),
            Priority::Camera(0),
        ] {
            for (demand, share) in demands.iter().zip(shares.iter_mut()) {
                if demand.priority != priority || (round > 0 && share.is_none()) {
                    continue;
                }
                let Some(layer) = demand.above(*share) else {
                    continue;
                };
                let has = share.map_or(0, |share| demand.cost(share));
                let more = demand.cost(layer) as f64 - has as f64;
                let keeps = demand.current.is_some_and(|current| layer <= current);
                let needed = match (keeps, share.is_none()) {
                    (true, true) => more / STAY_VISIBLE,
                    (true, false) => more / STAY,
                    (false, _) => more * UP,
                };
                if needed <= left {
                    *share = Some(layer);
                    left -= more;
                }
            }
        }
    }
}

impl Demand {
    /// The next existing layer above `layer`, within what is wanted; the lowest of all where even that is above.
    fn above(&self, layer: Option<u8>) -> Option<u8> {
        let exists = |layer: &u8| self.layers[usize::from(*layer)].is_some();
        match layer {
            Some(layer) => (layer + 1..=self.wanted.min(2)).find(exists),
            None => (0..3).find(exists),
        }
    }

    fn cost(&self, layer: u8) -> Bitrate {
        self.layers[usize::from(layer)].unwrap_or(0)
    }

    /// The budget at which the picture gets every layer it wants. Each layer on the way up must fit by itself, and a
    /// lower one may cost more than one above it that has just begun.
    pub fn full_cost(&self) -> Bitrate {
        let (mut layer, mut most) = (None, 0);
        while let Some(next) = self.above(layer) {
            layer = Some(next);
            most = most.max(self.cost(next));
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn camera(wanted: u8, current: Option<u8>) -> Demand {
        Demand {
            priority: Priority::Camera(wanted),
            layers: [Some(150_000), Some(500_000), Some(1_700_000)],
            wanted,
            current,
        }
    }

    fn shares(budget: Bitrate, demands: &[Demand]) -> Vec<Option<u8>> {
        let mut shares = Vec::new();
        divide(budget, demands, &mut shares);
        shares
    }

    #[test]
    fn everyone_is_seen_before_anyone_is_seen_sharply() {
        let two = [camera(2, None), camera(2, None)];
        assert_eq!(shares(10_000_000, &two), [Some(2), Some(2)]);
        assert_eq!(shares(2_900_000, &two), [Some(2), Some(1)]);
        assert_eq!(shares(1_200_000, &two), [Some(1), Some(1)]);
        assert_eq!(shares(800_000, &two), [Some(1), Some(0)]);
        assert_eq!(shares(350_000, &two), [Some(0), Some(0)]);
        assert_eq!(shares(200_000, &two), [Some(0), None]);
        assert_eq!(shares(100_000, &two), [None, None]);
    }

    #[test]
    fn the_screen_comes_first_and_thumbnails_last() {
        let screen = Demand {
            priority: Priority::Screen,
            layers: [None, None, Some(1_000_000)],
            ..camera(2, None)
        };
        let all = [camera(0, None), camera(2, None), screen];
        assert_eq!(shares(1_100_000, &all), [None, None, Some(2)]);
        assert_eq!(shares(1_300_000, &all), [None, Some(0), Some(2)]);
        assert_eq!(shares(1_900_000, &all), [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn what_is_sent_stays_a_little_longer_and_what_is_not_comes_a_little_later() {
        assert_eq!(shares(480_000, &[camera(1, Some(1))]), [Some(1)]);
        assert_eq!(shares(510_000, &[camera(1, Some(0))]), [Some(0)]);
        assert_eq!(shares(560_000, &[camera(1, Some(0))]), [Some(1)]);
    }

    proptest! {
        #[test]
        fn all_is_given_where_there_is_room_for_all_that_is_wanted(
            pictures in proptest::collection::vec(
                (proptest::array::uniform3(proptest::option::of(1u64..3_000_000)), 0u8..3, proptest::option::of(0u8..3)),
                0..12,
            ),
        ) {
            let demand = |(layers, wanted, current)| Demand { layers, current, ..camera(wanted, None) };
            let demands: Vec<_> = pictures.into_iter().map(demand).collect();
            let wanted = demands.iter().map(Demand::full_cost).sum::<Bitrate>();
            let given = shares((wanted as f64 * 1.1) as Bitrate + 12, &demands);
            for (demand, share) in demands.iter().zip(given) {
                prop_assert_eq!(share, (0..3).filter(|layer| {
                    let exists = demand.layers[usize::from(*layer)].is_some();
                    exists && (*layer <= demand.wanted || Some(*layer) == demand.above(None))
                }).max());
            }
        }
    }

    #[test]
    fn layers_that_do_not_exist_are_passed_over() {
        let high_only = Demand {
            layers: [None, None, Some(900_000)],
            ..camera(0, None)
        };
        assert_eq!(shares(1_000_000, &[high_only]), [Some(2)]);
        assert_eq!(high_only.full_cost(), 900_000);
        let begins = Demand {
            layers: [Some(71_000), Some(24_000), None],
            ..camera(1, None)
        };
        assert_eq!(begins.full_cost(), 71_000);
        let nothing = Demand {
            layers: [None; 3],
            ..camera(2, None)
        };
        assert_eq!(shares(1_000_000, &[nothing]), [None]);
        assert_eq!(nothing.full_cost(), 0);
    }
}
