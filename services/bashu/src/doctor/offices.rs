//! People with a role, and whether what they do needs more than a code to their phone.

use kit::Ctx;
use kit::config::Config;
use kit::graphql::Mode;

use super::{Finding, unanswered};
use crate::output::Text;
use crate::registry::Known;

const CHECK: &str = "offices.second_factor";

/// How many who hold a role have no second factor: whoever gets at their phone, or at a session of
/// theirs, comes first to set one up.
pub(super) async fn examine(config: &Config, opened: &[(&'static Known, Ctx)]) -> Vec<Finding> {
    let identity = opened
        .iter()
        .find(|(known, _)| known.name == identity::NAME);
    let Some((known, ctx)) = identity else {
        return Vec::new();
    };
    match identity::store::roles::without_factor(&ctx.db).await {
        Ok((holders, without)) => vec![judge(known.name, config.mode, (holders, without))],
        Err(error) => vec![unanswered(CHECK, known.name, &error)],
    }
}

/// Where one may do without a second factor, as in development, nobody needs one.
fn judge(service: &str, mode: Mode, (holders, without): (i64, i64)) -> Finding {
    let found = Text::new(
        format!("{holders} 人担任角色，其中 {without} 人没有绑定动态口令"),
        format!("{holders} people hold a role, {without} of them without a second factor"),
    );
    if without == 0 || mode == Mode::Development {
        return Finding::ok(CHECK, service, found);
    }
    Finding::warn(
        CHECK,
        service,
        found,
        Text::new(
            "请他们用手机验证码登录，并在 15 分钟内绑定动态口令（enrolSecondFactor）",
            "have them sign in by a code to their phone and set a second factor up within 15 \
             minutes (enrolSecondFactor)",
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    /// One without a factor is one too many, where one is needed at all.
    #[test]
    fn who_holds_a_role_needs_a_factor() {
        for (mode, counted, severity) in [
            (Mode::Production, (3, 1), Severity::Warn),
            (Mode::Production, (3, 0), Severity::Ok),
            (Mode::Development, (3, 1), Severity::Ok),
        ] {
            let finding = judge("identity", mode, counted);
            assert_eq!(finding.severity, severity, "{finding:?}");
            let en = finding.found.choose(kit::graphql::Language::En);
            assert!(en.starts_with("3 people"), "{en}");
        }
    }
}
