//! The two federations that run Bashu. Every other union is an organisation.

use std::fmt;

/// A federation with a stack of its own, named by its GB/T 2260 province code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Union {
    /// 重庆市总工会, province code 50.
    Chongqing,
    /// 四川省总工会, province code 51.
    Sichuan,
}

impl Union {
    pub const ALL: [Self; 2] = [Self::Chongqing, Self::Sichuan];

    /// The GB/T 2260 province code: 50 or 51.
    pub const fn code(self) -> u8 {
        match self {
            Self::Chongqing => 50,
            Self::Sichuan => 51,
        }
    }

    /// The union with this province code; `None` for any other number.
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            50 => Some(Self::Chongqing),
            51 => Some(Self::Sichuan),
            _ => None,
        }
    }

    /// The issuer nibble of credentials and key ids: 1 = 渝, 2 = 川.
    pub const fn issuer(self) -> u8 {
        match self {
            Self::Chongqing => 1,
            Self::Sichuan => 2,
        }
    }

    pub const fn name_zh(self) -> &'static str {
        match self {
            Self::Chongqing => "重庆市总工会",
            Self::Sichuan => "四川省总工会",
        }
    }
}

impl fmt::Display for Union {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code())
    }
}
