//! The keys of the provider, of its merchants and of the SMS accounts: made once, kept as files.
//!
//! The sandbox itself reads only the public half of a merchant's key; the private half is there
//! for the client. It makes no certificates: it speaks the provider's public-key mode, where the
//! serial of the platform is a `PUB_KEY_ID_…`.

use crate::error::Error;
use crate::idcheck::Account;
use crate::random;
use crate::signature::{Signing, Verifying};
use aes_gcm::aead::OsRng;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding,
};
use rsa::traits::PublicKeyParts;
use rsa::{RsaPrivateKey, RsaPublicKey};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The unions that get a merchant and an SMS account at first start.
const UNIONS: [u8; 2] = [50, 51];
/// In front of the union's number in the mchid of its merchant.
const MCHID_PREFIX: &str = "19000000";
/// The provider demands 2048.
const RSA_BITS: usize = 2048;
/// An API v3 key is exactly this long.
const APIV3_KEY_BYTES: usize = 32;
const SECRET_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o700;

/// Where `provision` put what a client needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisioned {
    /// Folder with `public_key.pem` and `serial` of the provider.
    pub platform: PathBuf,
    /// One folder per merchant, named by its mchid: `private_key.pem`, `public_key.pem`, `serial`,
    /// `apiv3_key`, `appid`.
    pub merchants: Vec<PathBuf>,
    /// One file per union with the bearer key of its SMS account.
    pub sms_keys: Vec<PathBuf>,
    /// One folder per union with its mini-program's `appid` and `secret`.
    pub mini_programs: Vec<PathBuf>,
    /// Folder with the `client_id` and `client_secret` of the OIDC issuer's one client.
    pub oidc: PathBuf,
    /// Folder with `secret_id` and `secret_key` at the service that verifies persons.
    pub verification: PathBuf,
}

/// Makes the keys that are missing under `dir` and leaves the others alone. Blocks for about a
/// second per RSA key that it makes. A folder of keys appears whole or not at all.
pub fn provision(dir: &Path) -> Result<Provisioned, Error> {
    make_folder(dir)?;
    let platform = dir.join("platform");
    ensure(&platform, |folder| {
        write_pair(folder)?;
        let serial = format!("PUB_KEY_ID_{}", random::text(random::DIGITS, 34));
        write(&folder.join("serial"), serial.as_bytes(), PUBLIC_MODE)
    })?;
    make_folder(&dir.join("merchants"))?;
    let mut merchants = Vec::new();
    for union in UNIONS {
        let folder = dir.join("merchants").join(format!("{MCHID_PREFIX}{union}"));
        let appid = format!("wx{union}{}", random::text(random::LOWER_HEX, 14));
        provision_merchant(&folder, &appid)?;
        merchants.push(folder);
    }
    let sms = dir.join("sms");
    ensure(&sms, |folder| {
        UNIONS.iter().try_for_each(|union| {
            let key = random::text(random::ALPHANUMERIC, 40);
            write(
                &folder.join(format!("{union}.key")),
                key.as_bytes(),
                SECRET_MODE,
            )
        })
    })?;
    let sms_keys = UNIONS
        .iter()
        .map(|union| sms.join(format!("{union}.key")))
        .collect();
    make_folder(&dir.join("mini_programs"))?;
    let mut mini_programs = Vec::new();
    for union in UNIONS {
        let folder = dir.join("mini_programs").join(union.to_string());
        ensure(&folder, |folder| {
            let appid = format!("wx{union}{}", random::text(random::LOWER_HEX, 14));
            write(&folder.join("appid"), appid.as_bytes(), PUBLIC_MODE)?;
            let secret = random::text(random::LOWER_HEX, 32);
            write(&folder.join("secret"), secret.as_bytes(), SECRET_MODE)
        })?;
        mini_programs.push(folder);
    }
    let oidc = dir.join("oidc");
    ensure(&oidc, |folder| {
        write_pair(folder)?;
        write(&folder.join("client_id"), b"bashu", PUBLIC_MODE)?;
        let secret = random::text(random::ALPHANUMERIC, 40);
        write(
            &folder.join("client_secret"),
            secret.as_bytes(),
            SECRET_MODE,
        )
    })?;
    let verification = dir.join("verification");
    ensure(&verification, |folder| {
        let id = format!("AKID{}", random::text(random::ALPHANUMERIC, 32));
        write(&folder.join("secret_id"), id.as_bytes(), PUBLIC_MODE)?;
        let key = random::text(random::ALPHANUMERIC, 32);
        write(&folder.join("secret_key"), key.as_bytes(), SECRET_MODE)
    })?;
    Ok(Provisioned {
        platform,
        merchants,
        sms_keys,
        mini_programs,
        oidc,
        verification,
    })
}

/// Makes one more merchant; its mchid is the name of `folder`, which lies in `DIR/merchants`.
pub fn provision_merchant(folder: &Path, appid: &str) -> Result<(), Error> {
    ensure(folder, |folder| {
        write_pair(folder)?;
        let serial = random::text(random::UPPER_HEX, 40);
        write(&folder.join("serial"), serial.as_bytes(), PUBLIC_MODE)?;
        write(&folder.join("appid"), appid.as_bytes(), PUBLIC_MODE)?;
        let key = random::text(random::ALPHANUMERIC, APIV3_KEY_BYTES);
        write(&folder.join("apiv3_key"), key.as_bytes(), SECRET_MODE)
    })
}

/// What the provider knows of one merchant.
pub(crate) struct Merchant {
    pub(crate) mchid: String,
    pub(crate) appid: String,
    /// The mini-program that is bound to it beside, of the same union.
    pub(crate) program_appid: Option<String>,
    pub(crate) serial: String,
    pub(crate) public: Verifying,
    pub(crate) apiv3_key: [u8; APIV3_KEY_BYTES],
}

impl Merchant {
    /// Whether it may sell under this name.
    pub(crate) fn is_bound_to(&self, appid: &str) -> bool {
        self.appid == appid || self.program_appid.as_deref() == Some(appid)
    }
}

/// All keys of the sandbox, as read from its data folder.
pub(crate) struct Keys {
    pub(crate) platform: Signing,
    pub(crate) platform_serial: String,
    pub(crate) merchants: BTreeMap<String, Merchant>,
    /// Bearer key → the account's name.
    pub(crate) sms: BTreeMap<String, String>,
    /// By their appids.
    pub(crate) mini_programs: BTreeMap<String, MiniProgram>,
    pub(crate) oidc: OidcKeys,
    pub(crate) verification: Account,
}

/// What the OIDC issuer signs with, and its one client.
pub(crate) struct OidcKeys {
    pub(crate) signing: Signing,
    pub(crate) kid: String,
    /// Of the public key, big-endian, in base64url, as a JWK has them.
    pub(crate) modulus: String,
    pub(crate) exponent: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

/// What WeChat knows of a mini-program.
pub(crate) struct MiniProgram {
    pub(crate) secret: String,
}

impl Keys {
    /// Reads what `provision` made, and any further merchant folder beside it.
    pub(crate) fn load(dir: &Path) -> Result<Self, Error> {
        let platform = dir.join("platform");
        let path = platform.join("private_key.pem");
        let signing = RsaPrivateKey::from_pkcs8_pem(&read(&path)?)
            .map_err(|problem| problem.to_string())
            .and_then(|key| Signing::new(&key).ok_or_else(unsound))
            .map_err(|problem| Error::Key { path, problem })?;
        let mut merchants = BTreeMap::<String, Merchant>::new();
        for folder in entries(&dir.join("merchants"))? {
            // A folder that was being made when the power went has a dot in its name.
            if let Some(name) = name_of(&folder).filter(|name| !name.contains('.')) {
                let _none = merchants.insert(name.to_owned(), load_merchant(&folder, name)?);
            }
        }
        let mut sms = BTreeMap::new();
        for file in entries(&dir.join("sms"))? {
            if let Some(account) = name_of(&file).and_then(|name| name.strip_suffix(".key")) {
                let _none = sms.insert(read(&file)?, account.to_owned());
            }
        }
        let mut mini_programs = BTreeMap::new();
        for folder in entries(&dir.join("mini_programs"))? {
            if let Some(union) = name_of(&folder).filter(|name| !name.contains('.')) {
                let secret = read(&folder.join("secret"))?;
                let appid = read(&folder.join("appid"))?;
                if let Some(merchant) = merchants.get_mut(&format!("{MCHID_PREFIX}{union}")) {
                    merchant.program_appid = Some(appid.clone());
                }
                let _none = mini_programs.insert(appid, MiniProgram { secret });
            }
        }
        Ok(Self {
            platform: signing,
            platform_serial: read(&platform.join("serial"))?,
            merchants,
            sms,
            mini_programs,
            oidc: load_oidc(&dir.join("oidc"))?,
            verification: Account {
                secret_id: read(&dir.join("verification/secret_id"))?,
                secret_key: read(&dir.join("verification/secret_key"))?,
            },
        })
    }
}

fn unsound() -> String {
    "it is no sound RSA key of 2048 bits or more".to_owned()
}

fn load_oidc(folder: &Path) -> Result<OidcKeys, Error> {
    let path = folder.join("private_key.pem");
    let (signing, public) = RsaPrivateKey::from_pkcs8_pem(&read(&path)?)
        .map_err(|problem| problem.to_string())
        .and_then(|key| {
            let signing = Signing::new(&key).ok_or_else(unsound)?;
            Ok((signing, RsaPublicKey::from(&key)))
        })
        .map_err(|problem| Error::Key { path, problem })?;
    let modulus = URL_SAFE_NO_PAD.encode(public.n().to_bytes_be());
    Ok(OidcKeys {
        signing,
        // New keys, another id.
        kid: modulus[..16].to_owned(),
        exponent: URL_SAFE_NO_PAD.encode(public.e().to_bytes_be()),
        modulus,
        client_id: read(&folder.join("client_id"))?,
        client_secret: read(&folder.join("client_secret"))?,
    })
}

fn load_merchant(folder: &Path, mchid: &str) -> Result<Merchant, Error> {
    let path = folder.join("public_key.pem");
    let public = RsaPublicKey::from_public_key_pem(&read(&path)?)
        .map_err(|problem| problem.to_string())
        .and_then(|key| Verifying::new(&key).ok_or_else(unsound))
        .map_err(|problem| Error::Key { path, problem })?;
    let path = folder.join("apiv3_key");
    let apiv3_key =
        <[u8; APIV3_KEY_BYTES]>::try_from(read(&path)?.as_bytes()).map_err(|_| Error::Key {
            path,
            problem: "it must have 32 bytes".to_owned(),
        })?;
    Ok(Merchant {
        mchid: mchid.to_owned(),
        appid: read(&folder.join("appid"))?,
        program_appid: None,
        serial: read(&folder.join("serial"))?,
        public,
        apiv3_key,
    })
}

fn write_pair(folder: &Path) -> Result<(), Error> {
    let path = folder.join("private_key.pem");
    let bad = |problem: String| Error::Key {
        path: path.clone(),
        problem,
    };
    let private = RsaPrivateKey::new(&mut OsRng, RSA_BITS).map_err(|e| bad(e.to_string()))?;
    let pem = private
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|e| bad(e.to_string()))?;
    write(&path, pem.as_bytes(), SECRET_MODE)?;
    let pem = RsaPublicKey::from(&private)
        .to_public_key_pem(LineEnding::LF)
        .map_err(|e| bad(e.to_string()))?;
    write(&folder.join("public_key.pem"), pem.as_bytes(), PUBLIC_MODE)
}

/// Fills a folder under a passing name and renames it, so that it is whole or absent.
fn ensure(folder: &Path, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    if folder.is_dir() {
        return Ok(());
    }
    let passing = folder.with_extension(format!("new{}", random::text(random::LOWER_HEX, 8)));
    make_folder(&passing)?;
    fill(&passing)?;
    match fs::rename(&passing, folder) {
        Ok(()) => Ok(()),
        // Somebody else was faster; theirs is as good.
        Err(_) if folder.is_dir() => fs::remove_dir_all(&passing).map_err(at(&passing)),
        Err(source) => Err(Error::File {
            path: folder.to_owned(),
            source,
        }),
    }
}

fn make_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(path)
        .map_err(at(path))
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(at(path))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(at(path))
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path)
        .map(|text| text.trim_end().to_owned())
        .map_err(at(path))
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let listed: Result<Vec<PathBuf>, _> = fs::read_dir(path)
        .map_err(at(path))?
        .map(|entry| entry.map(|e| e.path()))
        .collect();
    listed.map_err(at(path))
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}
