//! Who pays inside WeChat: the name that a mini-program has for her. It passes through and is kept
//! nowhere, so it can neither be shown nor written down by accident.

use std::fmt;

/// The longest openid, in bytes; the provider's own limit.
const OPENID_BYTES_MAX: usize = 128;

/// What a mini-program calls its user.
pub struct Openid {
    appid: String,
    name: String,
}

impl fmt::Debug for Openid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Openid")
    }
}

impl Openid {
    /// Reads the mini-program's appid and, on a line of its own, its name for the user; `None` when
    /// it is not that.
    pub fn parse(text: &str) -> Option<Self> {
        let (appid, name) = text.split_once('\n')?;
        let fits = (1..=OPENID_BYTES_MAX).contains(&name.len());
        let plain = name.bytes().all(|byte| byte.is_ascii_graphic());
        (fits && plain && !appid.is_empty()).then(|| Self {
            appid: appid.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The mini-program that has this name for her; another has another.
    pub fn appid(&self) -> &str {
        &self.appid
    }

    /// For the provider alone.
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_openid_is_read_and_never_shown() {
        let openid = Openid::parse("wx1\noUpF8uMuAJO_M2pxb1Q9zNjWeS6o").unwrap();
        assert_eq!(openid.appid(), "wx1");
        assert_eq!(openid.name(), "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o");
        assert_eq!(format!("{openid:?}"), "Openid");
        let long = format!("wx1\n{}", "o".repeat(OPENID_BYTES_MAX + 1));
        for bad in [
            "",
            "wx1",
            "wx1\n",
            "\no1",
            "wx1\no 1",
            "wx1\no1\n",
            "wx1\n码",
            &long,
        ] {
            assert!(Openid::parse(bad).is_none(), "{bad:.20?}");
        }
    }
}
