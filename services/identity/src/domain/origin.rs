//! With what and from where a person signs in: as much as she needs to tell her own devices from
//! a stranger's, and no more.
//!
//! Of an address only the half is kept that names a network, never the one that names a line: a
//! person's whole address beside the times of her logins would be her whereabouts.

use std::net::{IpAddr, Ipv6Addr};

use crate::error::Refusal;

/// The longest name of a device, in characters.
pub const DEVICE_CHARS_MAX: usize = 40;

/// What a device calls itself.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceName(String);

impl std::fmt::Debug for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceName")
    }
}

impl DeviceName {
    /// # Errors
    /// [`Refusal::DeviceInvalid`] for an empty or a long one, or one with what is not written.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let name = text.trim();
        let chars = name.chars().take(DEVICE_CHARS_MAX + 1).count();
        if chars == 0 || chars > DEVICE_CHARS_MAX || name.chars().any(is_unwritten) {
            return Err(Refusal::DeviceInvalid);
        }
        Ok(Self(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Controls, and what turns the direction of a line: a name must not look like another one.
fn is_unwritten(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The network that a person signs in from, as she reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network(String);

impl Network {
    /// Of a client's address: `198.51.*.*`, `2001:db8:*`; `None` where it is none.
    pub fn of(address: &str) -> Option<Self> {
        let half = match address.parse::<IpAddr>().ok()? {
            IpAddr::V4(v4) => first_half(v4.octets()),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => first_half(v4.octets()),
                None => first_groups(v6),
            },
        };
        Some(Self(half))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn first_half([first, second, ..]: [u8; 4]) -> String {
    format!("{first}.{second}.*.*")
}

fn first_groups(address: Ipv6Addr) -> String {
    let [first, second, ..] = address.segments();
    format!("{first:x}:{second:x}:*")
}

/// The language that somebody signs in with: messages come in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speech {
    #[default]
    Chinese,
    English,
}

impl Speech {
    pub const ALL: [Self; 2] = [Self::Chinese, Self::English];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chinese => "zh",
            Self::English => "en",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// With what and from where somebody signs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// None where the device does not say.
    pub device: Option<DeviceName>,
    /// None where the gateway did not tell.
    pub network: Option<Network>,
    pub speech: Speech,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_name_that_can_be_read() {
        let name = |text: &str| DeviceName::parse(text).map(|name| name.0);
        assert_eq!(name(" 华为 Mate 70 "), Ok("华为 Mate 70".to_owned()));
        let longest = "机".repeat(DEVICE_CHARS_MAX);
        assert_eq!(name(&longest), Ok(longest.clone()));
        let long = format!("{longest}机");
        for bad in ["", "  ", "a\nb", "a\0", "a\u{202e}b", "a\u{200b}", &long] {
            assert_eq!(name(bad), Err(Refusal::DeviceInvalid), "{bad:?}");
        }
    }

    #[test]
    fn half_of_an_address_is_forgotten() {
        let of = |text: &str| Network::of(text).map(|network| network.0);
        for (address, network) in [
            ("198.51.100.7", "198.51.*.*"),
            ("::ffff:198.51.100.7", "198.51.*.*"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:*"),
            ("::1", "0:0:*"),
        ] {
            assert_eq!(of(address).as_deref(), Some(network));
        }
        for none in ["", "localhost", "198.51.100", "198.51.100.7:80"] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
