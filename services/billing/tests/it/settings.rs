//! What refuses to start.

use crate::world::{World, settings};

/// Settings that are wrong are named; a key of 16 bytes would be AES-128 and is refused.
/// ASVS V1.2.2.
#[tokio::test]
async fn wrong_settings_are_refused() {
    let world = World::still().await;
    let good = settings(world.data(), &world.provider, &world.rest).wechat;
    type Change = fn(&mut billing::WechatSettings);
    let wrong: [(&str, Change); 8] = [
        ("apiv3_key", |one| one.apiv3_key = "0123456789abcdef".into()),
        ("merchant_key", |one| one.merchant_key = "none".into()),
        ("platform_key", |one| one.platform_key = "none".to_owned()),
        ("base_url", |one| {
            one.base_url = "http://api.mch.weixin.qq.com".to_owned()
        }),
        ("base_url", |one| {
            one.base_url = "https://user:word@api.mch.weixin.qq.com".to_owned()
        }),
        ("mchid", |one| one.mchid = "1900000050\"".to_owned()),
        ("notify_url", |one| {
            one.notify_url = "https://pay.example/?a=b".to_owned()
        }),
        ("merchant_serial", |one| {
            one.merchant_serial = "file:/nowhere".to_owned()
        }),
    ];
    for (field, change) in wrong {
        let mut wechat = good.clone();
        change(&mut wechat);
        let settings = billing::Settings { wechat };
        let error = billing::Billing::new(world.db.ctx.clone(), &settings, Default::default());
        assert_eq!(error.unwrap_err().field, format!("billing.wechat.{field}"));
    }
}
