//! Parties outside who are asked about people, or told their phones: each is reached under TLS, or
//! is a stand-in on this machine, where there is no way to listen on. An OIDC issuer names its own
//! addresses, so those are looked at when they are asked (`crate::oidc`).

use kit::config::ConfigError;
use reqwest::Url;

use crate::Settings;
use crate::oidc::is_loopback;

/// Looks at each address of the settings.
///
/// # Errors
/// Names the first that would be asked in the clear.
pub(crate) fn check(settings: &Settings) -> Result<(), ConfigError> {
    let wechat = settings.wechat.as_ref().map(|it| it.url.as_str());
    let verification = settings.verification.as_ref().map(|it| it.url.as_str());
    for (field, address) in [
        ("identity.sms.url", Some(settings.sms.url.as_str())),
        ("identity.wechat.url", wechat),
        ("identity.verification.url", verification),
    ] {
        if address.is_some_and(|address| !is_fit(address)) {
            let why = "must be https://…, or http:// on this machine";
            return Err(ConfigError::new(field, why));
        }
    }
    Ok(())
}

fn is_fit(address: &str) -> bool {
    Url::parse(address).is_ok_and(|url| match url.scheme() {
        "https" => true,
        "http" => is_loopback(&url),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::is_fit;

    /// A name may lead anywhere, so only a number is this machine.
    #[test]
    fn nobody_is_asked_in_the_clear() {
        for good in [
            "https://sms.example.cn",
            "http://127.0.0.1:9",
            "http://[::1]:9/sms",
        ] {
            assert!(is_fit(good), "{good}");
        }
        for bad in [
            "http://sms.example.cn",
            "http://10.0.0.1",
            "http://localhost:9",
            "http://127.0.0.1.example.cn",
            "ftp://127.0.0.1",
            "sms.example.cn",
            "",
        ] {
            assert!(!is_fit(bad), "{bad}");
        }
    }
}
