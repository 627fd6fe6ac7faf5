//! Who we are at the provider, and which of its keys we believe: read once from settings.

use std::fmt;

use kit::config::ConfigError;
use kit::sealed::PrivateKey as PrivateWordKey;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::cipher::ApiV3Key;
use super::signature::{PlatformKey, PrivateKey};

/// A value of the settings that begins so is the path of the file that holds it.
const FILE_PREFIX: &str = "file:";
/// The largest file a setting may name, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// `[billing.wechat]`. Each value may be written `file:PATH` instead, to be read from a file.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WechatSettings {
    /// `https://api.mch.weixin.qq.com`, or an address on loopback.
    pub base_url: String,
    /// 商户号
    pub mchid: String,
    pub appid: String,
    /// The serial of our certificate.
    pub merchant_serial: String,
    /// Our private key, PEM.
    pub merchant_key: SecretString,
    /// `PUB_KEY_ID_…`, or the serial of the provider's certificate.
    pub platform_serial: String,
    /// The provider's public key, PEM.
    pub platform_key: String,
    /// The 32 characters that notifications are sealed with.
    pub apiv3_key: SecretString,
    /// In front of `/wechat/notify/…`, where the provider reaches this service.
    pub notify_url: String,
    /// The mini-program in which members pay inside WeChat; nobody does where it is absent.
    #[serde(default)]
    pub mini_program: Option<MiniProgramSettings>,
}

/// `[billing.wechat.mini_program]`. Each value may name a file, as those of `[billing.wechat]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiniProgramSettings {
    /// Bound to the merchant at the provider; identity signs members in by the same.
    pub appid: String,
    /// Opens what identity seals to billing: 32 random bytes in base64. Its public half is
    /// identity's `wechat.payer_key`.
    pub payer_key: SecretString,
}

impl fmt::Debug for MiniProgramSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MiniProgramSettings")
            .field("appid", &self.appid)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WechatSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WechatSettings")
            .field("base_url", &self.base_url)
            .field("mchid", &self.mchid)
            .finish_non_exhaustive()
    }
}

/// Settings that were found right.
#[derive(Debug)]
pub struct Merchant {
    pub base_url: reqwest::Url,
    pub mchid: String,
    pub appid: String,
    pub serial: String,
    pub key: PrivateKey,
    pub platform_keys: Vec<PlatformKey>,
    pub apiv3_key: ApiV3Key,
    /// Without a slash at its end; the route follows.
    pub notify_url: String,
    pub mini_program: Option<MiniProgram>,
}

/// The mini-program in which members pay inside WeChat.
#[derive(Debug)]
pub struct MiniProgram {
    pub appid: String,
    /// Opens what names a payer.
    pub payer_key: PrivateWordKey,
}

fn bad(field: &str, reason: &str) -> ConfigError {
    ConfigError::new(format!("billing.wechat.{field}"), reason)
}

/// The value itself, or what the file it names holds, without line ends around it.
fn value(field: &str, text: &str) -> Result<String, ConfigError> {
    let text = match text.strip_prefix(FILE_PREFIX) {
        None => text.to_owned(),
        Some(path) => {
            let meta = std::fs::metadata(path)
                .map_err(|error| bad(field, &format!("{path} cannot be read: {}", error.kind())))?;
            if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
                return Err(bad(field, &format!("{path} is no small file")));
            }
            std::fs::read_to_string(path)
                .map_err(|error| bad(field, &format!("{path} cannot be read: {}", error.kind())))?
        }
    };
    let text = text.trim();
    if text.is_empty() {
        Err(bad(field, "is empty"))
    } else {
        Ok(text.to_owned())
    }
}

/// An address without credentials, query or fragment; TLS unless it is on loopback.
fn address(field: &str, text: &str) -> Result<reqwest::Url, ConfigError> {
    let url: reqwest::Url = text.parse().map_err(|_| bad(field, "is no address"))?;
    let local = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    let scheme_fits = url.scheme() == "https" || (url.scheme() == "http" && local);
    if !scheme_fits {
        return Err(bad(field, "must be https, or http on loopback"));
    }
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if bare {
        Ok(url)
    } else {
        Err(bad(field, "must have no credentials, query or fragment"))
    }
}

/// A value of letters and digits.
fn alphanumeric(field: &'static str, text: &str) -> Result<String, ConfigError> {
    let text = value(field, text)?;
    let fits = text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if fits {
        Ok(text)
    } else {
        Err(bad(field, "must be letters and digits"))
    }
}

impl MiniProgram {
    fn load(settings: &MiniProgramSettings) -> Result<Self, ConfigError> {
        let field = "mini_program.payer_key";
        let key = value(field, settings.payer_key.expose_secret())?;
        Ok(Self {
            appid: alphanumeric("mini_program.appid", &settings.appid)?,
            payer_key: PrivateWordKey::parse(&key.into())
                .ok_or_else(|| bad(field, "must be 32 bytes in base64"))?,
        })
    }
}

impl Merchant {
    /// Reads the files that the settings name and checks everything that can be checked.
    ///
    /// # Errors
    /// The first field that is wrong; values are never shown.
    pub fn load(settings: &WechatSettings) -> Result<Self, ConfigError> {
        let base_url = address("base_url", &value("base_url", &settings.base_url)?)?;
        if base_url.path() != "/" {
            return Err(bad("base_url", "must have no path"));
        }
        let mchid = value("mchid", &settings.mchid)?;
        if !(8..=10).contains(&mchid.len()) || !mchid.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad("mchid", "must be 8 to 10 digits"));
        }
        let key = value("merchant_key", settings.merchant_key.expose_secret())?;
        let platform_serial = value("platform_serial", &settings.platform_serial)?;
        let platform_key = value("platform_key", &settings.platform_key)?;
        let apiv3_key = value("apiv3_key", settings.apiv3_key.expose_secret())?;
        let notify_url = value("notify_url", &settings.notify_url)?;
        let _checked = address("notify_url", &notify_url)?;
        Ok(Self {
            base_url,
            mchid,
            appid: alphanumeric("appid", &settings.appid)?,
            serial: alphanumeric("merchant_serial", &settings.merchant_serial)?,
            key: PrivateKey::from_pem(&key)
                .ok_or_else(|| bad("merchant_key", "must be an RSA key of at least 2048 bits"))?,
            platform_keys: vec![
                PlatformKey::from_pem(&platform_serial, &platform_key)
                    .ok_or_else(|| bad("platform_key", "must be an RSA public key"))?,
            ],
            apiv3_key: ApiV3Key::new(apiv3_key.as_bytes())
                .ok_or_else(|| bad("apiv3_key", "must be exactly 32 bytes"))?,
            notify_url: notify_url.trim_end_matches('/').to_owned(),
            mini_program: settings
                .mini_program
                .as_ref()
                .map(MiniProgram::load)
                .transpose()?,
        })
    }

    /// Whether the provider speaks of us: of our account, and of a name that it is bound to.
    pub fn is_ours(&self, mchid: &str, appid: &str) -> bool {
        let program = self.mini_program.as_ref();
        mchid == self.mchid
            && (appid == self.appid || program.is_some_and(|program| appid == program.appid))
    }
}
