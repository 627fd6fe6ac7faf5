//! The language of an answer. Chosen from `Accept-Language` between Chinese and English alone;
//! it is no full negotiation: regions and scripts are ignored, and Chinese is the default.

/// A language the gateway speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locale {
    /// 中文
    Chinese,
    /// English
    English,
}

/// A text in both languages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    pub(crate) zh: &'static str,
    pub(crate) en: &'static str,
}

/// Ranges read from one `Accept-Language`; what comes after is ignored.
const LANGUAGE_RANGES_MAX: usize = 16;

impl Locale {
    /// The preferred of the two languages; the first of equals wins.
    pub(crate) fn from_accept_language(value: Option<&str>) -> Self {
        let mut best = (Self::Chinese, 0.0_f32);
        for range in value
            .unwrap_or_default()
            .split(',')
            .take(LANGUAGE_RANGES_MAX)
        {
            let mut parts = range.split(';');
            let tag = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
            let language = match tag.split('-').next() {
                Some("zh") => Self::Chinese,
                Some("en") => Self::English,
                _ => continue,
            };
            let quality = parts
                .find_map(|part| part.trim().strip_prefix("q="))
                .map_or(1.0, |text| text.parse().unwrap_or(0.0));
            if quality > best.1 {
                best = (language, quality);
            }
        }
        best.0
    }

    /// The text in this language.
    pub(crate) fn pick(self, text: Text) -> &'static str {
        match self {
            Self::Chinese => text.zh,
            Self::English => text.en,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Locale;

    /// The best-weighted of the two known languages is taken; Chinese where none is asked for.
    #[test]
    fn the_preferred_known_language_is_taken() {
        let cases = [
            (None, Locale::Chinese),
            (Some("en"), Locale::English),
            (Some("en-GB,zh;q=0.9"), Locale::English),
            (Some("fr, zh-CN;q=0.8, en;q=0.7"), Locale::Chinese),
            (Some("en;q=0.2, zh-Hans-CN;q=0.9"), Locale::Chinese),
            (Some("de"), Locale::Chinese),
            (Some("en;q=oops"), Locale::Chinese),
        ];
        for (header, expected) in cases {
            assert_eq!(Locale::from_accept_language(header), expected, "{header:?}");
        }
    }
}
