//! What OWASP ASVS asks of identity and no other test touches: what a row of the audit says, how
//! files are named, and how much chance is in what signs somebody in.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use identity::Identity;
use identity::commands::logins::refresh_login;
use identity::commands::operator::sign_out;
use kit::Error;
use kit::replica::Roots;
use tower::ServiceExt;
use uuid::Uuid;

use crate::world::{OPERATOR_PHONE, World, number_of_phone, organisation_of, settings};

/// Random bytes of a refresh token: twice the 128 bits of ASVS 7.2.3.
const REFRESH_BYTES: usize = 32;
const REFRESHED: usize = 16;

/// A row of the audit says when, by whom and by which of her logins, what was done and to what;
/// where is the service whose table it is, and the login, of which device and network are known.
/// ASVS V16.2.1.
#[tokio::test]
async fn a_row_says_when_where_who_and_what() {
    let world = World::new().await;
    world.advance(61);
    let made = world.organisation("GRASSROOTS", "基层工会").await;
    let row = "SELECT concat_ws(' ', member, login, act, subject, extract(epoch FROM at)::bigint)
         AS name FROM audit WHERE act = 'create_organisation' ORDER BY id DESC LIMIT 1";
    let said = format!(
        "{} {} create_organisation {} {}",
        world.operator.0,
        Uuid::from_u128(99),
        organisation_of(&made).0,
        world.identity.ctx.clock.now().timestamp()
    );
    assert_eq!(world.names(row).await, [said]);
}

/// A file is named by the service, whatever its address says, and is nothing but a download.
/// ASVS V5.4.1, V5.4.2.
#[tokio::test]
async fn a_file_is_named_by_the_service_alone() {
    let world = World::new().await;
    let routes = identity::rest::rosters::routes(&world.identity);
    let routes = kit::http::rest(kit::http::limited(routes, kit::http::REST_BODY_BYTES_MAX));
    for query in [
        "",
        "?language=en",
        "?filename=..%2F..%2Fevil.html",
        "?name=%22%0D%0AX-Evil%3A%20yes&language=zh",
        "?language=%22%3B%20filename%3Devil.html",
    ] {
        let request = Request::builder()
            .uri(format!("/rosters/template.xlsx{query}"))
            .body(Body::empty())
            .unwrap();
        let response = routes.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{query}");
        let headers = response.headers();
        for (name, value) in [
            (
                header::CONTENT_DISPOSITION,
                "attachment; filename=\"roster.xlsx\"",
            ),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store"),
        ] {
            assert_eq!(headers[&name], value, "{query}");
        }
        assert!(!headers.contains_key("x-evil"), "{query}");
    }
}

/// Whoever runs a union ends the logins of one person, or of all, and it is on record why.
/// ASVS V7.4.5.
#[tokio::test]
async fn whoever_runs_it_signs_people_out() {
    let world = World::new().await;
    let ctx = &world.identity.ctx;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let member = world.person(&union, 1).await;
    let lost = world.sign_in(&number_of_phone(1)).await;
    let other = world.sign_in(OPERATOR_PHONE).await;
    assert_eq!(sign_out(ctx, Some(member), "lost").await.unwrap(), 1);
    assert_eq!(sign_out(ctx, Some(member), "lost").await.unwrap(), 0);
    let refused = refresh_login(&world.identity, &lost.refresh_token).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let other = refresh_login(&world.identity, &other.refresh_token)
        .await
        .unwrap();
    assert_eq!(world.events_of("LoginWithdrawn").await.len(), 1);

    // Two codes of one phone keep their distance.
    ctx.clock.advance(TimeDelta::minutes(2));
    let again = world.sign_in(&number_of_phone(1)).await;
    assert_eq!(sign_out(ctx, None, "a key was seen").await.unwrap(), 2);
    for session in [other, again] {
        let refused = refresh_login(&world.identity, &session.refresh_token).await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    }
    assert_eq!(sign_out(ctx, None, "a key was seen").await.unwrap(), 0);
    let why = "SELECT count(*) AS count FROM audit
               WHERE act = 'sign_out_member' AND detail ->> 'reason' = 'a key was seen'";
    assert_eq!(world.count(why).await, 2);
    let all = "SELECT count(*) AS count FROM audit WHERE act = 'sign_out_all'";
    assert_eq!(world.count(all).await, 2);
}

/// Whoever is told a phone is told it under TLS, or on this machine: no service starts otherwise.
#[tokio::test]
async fn nobody_is_told_a_phone_in_the_clear() {
    let world = World::new().await;
    let open = |url: &str| {
        let ctx = world.identity.ctx.clone();
        Identity::new(ctx, settings(url), Roots::new(), 1).map(|_| ())
    };
    open("https://sms.example.cn").unwrap();
    open("http://127.0.0.1:9").unwrap();
    for bad in ["http://sms.example.cn", "http://localhost:9", "sms"] {
        assert_eq!(open(bad).unwrap_err().field, "identity.sms.url", "{bad}");
    }
}

/// Each refresh token is 256 random bits of its own.
/// ASVS V7.2.3.
#[tokio::test]
async fn a_refresh_token_cannot_be_guessed() {
    let world = World::new().await;
    let mut session = world.sign_in(OPERATOR_PHONE).await;
    let mut seen = BTreeSet::new();
    for _ in 0..REFRESHED {
        let random = URL_SAFE_NO_PAD.decode(&session.refresh_token).unwrap();
        assert_eq!(random.len(), REFRESH_BYTES);
        assert!(seen.insert(random), "one came twice");
        session = refresh_login(&world.identity, &session.refresh_token)
            .await
            .unwrap();
    }
}
