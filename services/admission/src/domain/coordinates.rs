//! Where a venue is. Stored as WGS-84, which is what the world's instruments mean; maps in China
//! draw in GCJ-02, so it is served too. The way back is deliberately not here: nobody stores a
//! guess of a guess.

/// A point in WGS-84, in 1e-7 degrees (about a centimetre).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wgs84 {
    latitude_e7: i32,
    longitude_e7: i32,
}

/// A point as Chinese maps draw it, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gcj02 {
    pub latitude: f64,
    pub longitude: f64,
}

/// 1e-7 degrees in one degree.
const E7: f64 = 1e7;
/// The mean radius of the Earth, in metres.
const EARTH_RADIUS_METRES: f64 = 6_371_008.8;
/// The box of Chongqing and Sichuan with a margin, in 1e-7 degrees: a swapped or mistyped pair
/// falls outside.
const LATITUDE_E7: std::ops::RangeInclusive<i32> = 255_000_000..=345_000_000;
const LONGITUDE_E7: std::ops::RangeInclusive<i32> = 970_000_000..=1_105_000_000;
/// The Krasovsky ellipsoid, on which GCJ-02 is defined: semi-major axis in metres and
/// eccentricity squared.
const AXIS_METRES: f64 = 6_378_245.0;
const ECCENTRICITY: f64 = 0.006_693_421_622_965_943;

/// The step of the grid that points are looked around from, in 1e-7 degrees: about 100 metres.
pub const GRID_E7: i32 = 10_000;

/// Coordinates here are positive and far below the greatest number.
const fn snapped(value_e7: i32) -> i32 {
    (value_e7 + GRID_E7 / 2) / GRID_E7 * GRID_E7
}

impl Wgs84 {
    /// `None` outside the two provinces and their surroundings.
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        Self::from_e7(to_e7(latitude)?, to_e7(longitude)?)
    }

    /// As it is stored.
    pub fn from_e7(latitude_e7: i32, longitude_e7: i32) -> Option<Self> {
        (LATITUDE_E7.contains(&latitude_e7) && LONGITUDE_E7.contains(&longitude_e7)).then_some(
            Self {
                latitude_e7,
                longitude_e7,
            },
        )
    }

    pub const fn latitude_e7(self) -> i32 {
        self.latitude_e7
    }

    pub const fn longitude_e7(self) -> i32 {
        self.longitude_e7
    }

    /// Degrees north.
    pub fn latitude(self) -> f64 {
        f64::from(self.latitude_e7) / E7
    }

    /// Degrees east.
    pub fn longitude(self) -> f64 {
        f64::from(self.longitude_e7) / E7
    }

    /// The nearest point of a grid of [`GRID_E7`], at most some 75 metres away.
    #[must_use]
    pub const fn on_grid(self) -> Self {
        Self {
            latitude_e7: snapped(self.latitude_e7),
            longitude_e7: snapped(self.longitude_e7),
        }
    }

    /// The great-circle distance, in metres.
    pub fn metres_to(self, other: Self) -> f64 {
        let (a, b) = (self.latitude().to_radians(), other.latitude().to_radians());
        let across = (other.longitude() - self.longitude()).to_radians();
        let half = ((b - a) / 2.0).sin().powi(2) + a.cos() * b.cos() * (across / 2.0).sin().powi(2);
        2.0 * EARTH_RADIUS_METRES * half.sqrt().min(1.0).asin()
    }

    /// The same place on a Chinese map, by the published approximation (a metre or two exact).
    pub fn to_gcj02(self) -> Gcj02 {
        let (latitude, longitude) = (self.latitude(), self.longitude());
        let (x, y) = (longitude - 105.0, latitude - 35.0);
        let radians = latitude.to_radians();
        let magic = 1.0 - ECCENTRICITY * radians.sin().powi(2);
        let root = magic.sqrt();
        let north = shift_latitude(x, y).to_degrees()
            / (AXIS_METRES * (1.0 - ECCENTRICITY) / (magic * root));
        let east = shift_longitude(x, y).to_degrees() / (AXIS_METRES / root * radians.cos());
        Gcj02 {
            latitude: latitude + north,
            longitude: longitude + east,
        }
    }
}

fn to_e7(degrees: f64) -> Option<i32> {
    let scaled = (degrees * E7).round();
    #[expect(clippy::cast_possible_truncation, reason = "the range was looked at")]
    (scaled.is_finite() && scaled.abs() <= 1_800_000_000.0).then_some(scaled as i32)
}

fn shift_latitude(x: f64, y: f64) -> f64 {
    use std::f64::consts::PI;
    -100.0
        + 2.0 * x
        + 3.0 * y
        + 0.2 * y * y
        + 0.1 * x * y
        + 0.2 * x.abs().sqrt()
        + waves(x)
        + (20.0 * (y * PI).sin() + 40.0 * (y / 3.0 * PI).sin()) * 2.0 / 3.0
        + (160.0 * (y / 12.0 * PI).sin() + 320.0 * (y * PI / 30.0).sin()) * 2.0 / 3.0
}

fn shift_longitude(x: f64, y: f64) -> f64 {
    use std::f64::consts::PI;
    300.0
        + x
        + 2.0 * y
        + 0.1 * x * x
        + 0.1 * x * y
        + 0.1 * x.abs().sqrt()
        + waves(x)
        + (20.0 * (x * PI).sin() + 40.0 * (x / 3.0 * PI).sin()) * 2.0 / 3.0
        + (150.0 * (x / 12.0 * PI).sin() + 300.0 * (x / 30.0 * PI).sin()) * 2.0 / 3.0
}

fn waves(x: f64) -> f64 {
    use std::f64::consts::PI;
    (20.0 * (6.0 * x * PI).sin() + 20.0 * (2.0 * x * PI).sin()) * 2.0 / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Tiananmen pair that implementations of the transformation are commonly held against is
    /// outside our box, so the shift itself is: some 300 to 600 m, to the south-east of nothing.
    #[test]
    fn a_chinese_map_is_some_hundred_metres_off() {
        for (latitude, longitude) in [(29.562, 106.550), (30.657, 104.066), (29.545, 103.773)] {
            let here = Wgs84::new(latitude, longitude).unwrap();
            let there = here.to_gcj02();
            let there = Wgs84::new(there.latitude, there.longitude).unwrap();
            let metres = here.metres_to(there);
            assert!((200.0..700.0).contains(&metres), "{metres}");
        }
    }

    /// Points of one neighbourhood are looked around from the same one, which is near them.
    #[test]
    fn the_grid_is_near_and_coarse() {
        let here = Wgs84::new(29.561_9, 106.550_4).unwrap();
        let next = Wgs84::new(29.562_2, 106.549_7).unwrap();
        assert_eq!(here.on_grid(), next.on_grid());
        assert_eq!(here.on_grid(), here.on_grid().on_grid());
        for point in [here, next] {
            assert!(point.metres_to(point.on_grid()) < 80.0);
        }
        let far = Wgs84::new(29.563_2, 106.549_7).unwrap();
        assert_ne!(far.on_grid(), here.on_grid());
    }

    /// Chengdu's Tianfu Square to Chongqing's Liberation Monument is some 270 km.
    #[test]
    fn distances_are_great_circles() {
        let chengdu = Wgs84::new(30.657_0, 104.065_7).unwrap();
        let chongqing = Wgs84::new(29.557_6, 106.577_1).unwrap();
        let metres = chengdu.metres_to(chongqing);
        assert!((268_000.0..272_000.0).contains(&metres), "{metres}");
        assert!((metres - chongqing.metres_to(chengdu)).abs() < 1e-6);
    }

    #[test]
    fn a_swapped_pair_and_no_number_are_no_place_of_ours() {
        for (latitude, longitude) in [
            (106.55, 29.56),
            (0.0, 0.0),
            (f64::NAN, 106.0),
            (29.5, f64::INFINITY),
            (39.9, 116.4),
            (1e300, 1e300),
        ] {
            assert_eq!(Wgs84::new(latitude, longitude), None);
        }
    }
}
