//! The two languages people read here.

use axum::http::{HeaderMap, header};

/// The language a caller reads, from `Accept-Language`; Chinese unless English is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Language {
    #[default]
    Zh,
    En,
}

impl Language {
    /// The first of zh and en by weight, then by place. Anything unreadable is Chinese.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let value = headers
            .get(header::ACCEPT_LANGUAGE)
            .and_then(|value| value.to_str().ok());
        value.map(Self::parse).unwrap_or_default()
    }

    /// Reads the value of an `Accept-Language` header.
    pub fn parse(value: &str) -> Self {
        let mut best: Option<(f32, Self)> = None;
        for range in value.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default().to_ascii_lowercase();
            let language = match tag.split('-').next() {
                Some("zh") => Self::Zh,
                Some("en") => Self::En,
                _ => continue,
            };
            let weight = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(Some(1.0), |q| q.parse::<f32>().ok())
                .unwrap_or_default();
            if weight > best.map_or(0.0, |(weight, _)| weight) {
                best = Some((weight, language));
            }
        }
        best.map(|(_, language)| language).unwrap_or_default()
    }

    /// The tag for `Content-Language`.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Zh => "zh-CN",
            Self::En => "en",
        }
    }

    /// The text in this language.
    pub const fn choose<'a>(self, zh: &'a str, en: &'a str) -> &'a str {
        match self {
            Self::Zh => zh,
            Self::En => en,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_unless_english_weighs_more() {
        for (value, language) in [
            ("", Language::Zh),
            ("fr", Language::Zh),
            ("en", Language::En),
            ("EN-us,en;q=0.9", Language::En),
            ("zh-CN,zh;q=0.9,en;q=0.8", Language::Zh),
            ("fr, en;q=0.5, zh;q=0.4", Language::En),
            ("en;q=0", Language::Zh),
            ("en;q=banana", Language::Zh),
            ("en;q=NaN", Language::Zh),
            (";;,,q=", Language::Zh),
        ] {
            assert_eq!(Language::parse(value), language, "{value}");
        }
    }
}
