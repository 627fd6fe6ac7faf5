//! What two databases of one union must say alike once all events have arrived: the writer of a
//! thing and each of its readers. A check is a pair of queries that answer `(key, fact)`; the
//! sides hold when they answer the same rows.

use anyhow::Result;
use kit::Ctx;
use sea_orm::FromQueryResult;

use super::stream::{Extent, Stream, compare};
use super::{Violation, named};
use crate::output::Text;

/// One pair.
#[derive(Clone, Debug)]
pub(super) struct Cross {
    pub(super) id: String,
    pub(super) text: Text,
    /// The writer, and what it says.
    left: Query,
    /// A reader, and what it heard.
    right: Query,
    extent: Extent,
    /// What the writer still has and the reader has forgotten; see [`FORGOTTEN`].
    forgotten: Option<Query>,
}

#[derive(Clone, Copy, Debug)]
struct Query {
    service: &'static str,
    /// The query in parts.
    sql: &'static [&'static str],
}

impl Cross {
    /// # Errors
    /// When a database fails.
    pub(super) async fn look(&self, databases: &[Ctx]) -> Result<Vec<Violation>> {
        let forgotten = match &self.forgotten {
            Some(query) => ids(databases, query).await?,
            None => NOBODY.to_owned(),
        };
        let open = async |query: &Query| {
            let database = named(databases, query.service)?;
            let sql = query.sql.concat().replace(WHOSE, &forgotten);
            Stream::open(database, &sql).await
        };
        let (left, right) = (open(&self.left).await?, open(&self.right).await?);
        compare(
            (left, right),
            (self.left.service, self.right.service),
            self.extent,
        )
        .await
    }
}

/// An array of ids as SQL writes it.
async fn ids(databases: &[Ctx], query: &Query) -> Result<String> {
    #[derive(FromQueryResult)]
    struct Ids {
        ids: String,
    }
    let database = named(databases, query.service)?;
    let found: Option<Ids> = database.db.one(&query.sql.concat(), []).await?;
    Ok(found.map_or_else(|| NOBODY.to_owned(), |found| found.ids))
}

/// A pair between two named services.
struct Pair {
    id: &'static str,
    zh: &'static str,
    en: &'static str,
    left: Query,
    right: Query,
}

/// All pairs: those written out, and identity's replicas in each service that keeps one.
pub(super) fn all() -> Vec<Cross> {
    let mut all: Vec<Cross> = PAIRS
        .iter()
        .map(|pair| Cross {
            id: pair.id.to_owned(),
            text: Text::new(pair.zh, pair.en),
            left: pair.left,
            right: pair.right,
            extent: Extent::Same,
            forgotten: (pair.id == USES).then_some(FORGOTTEN),
        })
        .collect();
    for service in ["passes", "billing", "admission"] {
        for (table, zh, sql) in REPLICATED {
            all.push(Cross {
                id: format!("cross.{service}_{table}"),
                text: Text::new(
                    format!("{service} 知道的{zh}与 identity 一致"),
                    format!("{service} knows the {table} that identity has"),
                ),
                left: Query {
                    service: "identity",
                    sql,
                },
                right: Query { service, sql },
                // Identity forgets logins that have ended; nobody is harmed who remembers.
                extent: if table == WITHDRAWN {
                    Extent::Within
                } else {
                    Extent::Same
                },
                forgotten: None,
            });
        }
    }
    all
}

const WITHDRAWN: &str = "withdrawn_logins";
const USES: &str = "cross.uses";
/// In a query, where the ids of those stand that were forgotten; and that there are none.
const WHOSE: &str = "{forgotten}";
const NOBODY: &str = "{}";
/// The passes of people who were forgotten: where they have been is gone from passes, and stays in
/// admission, which pays venues by it and knows nobody's name.
const FORGOTTEN: Query = Query {
    service: "passes",
    sql: &[
        "SELECT COALESCE(array_agg(p.id ORDER BY p.id), '{}')::text AS ids FROM pass p
           JOIN replica_erasure e ON e.member = p.member AND e.state = 'erased'",
    ],
};

/// What identity publishes, by the names that its views and the others' replicas share.
const REPLICATED: [(&str, &str, &[&str]); 9] = [
    (
        "organisations",
        "组织",
        &[
            "SELECT id::text AS key, concat_ws(' ', 'version', version, name, division,
           array_to_string(path, '/'), CASE WHEN partner THEN 'partner' END,
           CASE WHEN closed THEN 'closed' END) AS fact
         FROM replica_organisation",
        ],
    ),
    (
        "members",
        "会员",
        &[
            "SELECT id::text AS key, concat_ws(' ', state, 'version', version, merged_into) AS fact
         FROM replica_member",
        ],
    ),
    (
        "memberships",
        "会籍",
        &["SELECT id::text AS key,
           concat_ws(' ', state, 'version', version, member, organisation, since, until) AS fact
         FROM replica_membership"],
    ),
    (
        "roles",
        "角色",
        &[
            "SELECT id::text AS key, concat_ws(' ', role, 'version', version, member, organisation,
           CASE WHEN withdrawn THEN 'withdrawn' END,
           'until ' || extract(epoch FROM ends_at)::bigint) AS fact
         FROM replica_role",
        ],
    ),
    (
        WITHDRAWN,
        "注销的登录",
        &["SELECT id::text AS key, 'withdrawn' AS fact FROM replica_withdrawn_login"],
    ),
    (
        "key_sets",
        "密钥集",
        &["SELECT issuer::text AS key,
           concat_ws(' ', 'version', version, encode(signature, 'hex')) AS fact
         FROM replica_key_set"],
    ),
    (
        "consents",
        "同意",
        &[
            "SELECT id::text AS key, concat_ws(' ', member, purpose, recipient,
           'version', version, 'text', text_version,
           CASE WHEN given THEN 'given' ELSE 'withdrawn' END) AS fact
         FROM replica_consent",
        ],
    ),
    (
        "consents_of_holders",
        "持有人的同意",
        &[
            "SELECT concat_ws('/', entitlement, purpose, recipient) AS key, concat_ws(' ',
           'version', version, 'text', text_version,
           CASE WHEN given THEN 'given' ELSE 'withdrawn' END) AS fact
         FROM replica_entitlement_consent",
        ],
    ),
    (
        "consent_texts",
        "同意书文本",
        &["SELECT concat_ws('/', purpose, recipient, version) AS key,
           extract(epoch FROM effective_from)::text AS fact
         FROM replica_consent_text"],
    ),
];

/// The right that each pass is, as passes grants it: state, version, scope, its window in minutes
/// since 2024-01-01 in Shanghai, as the credential counts, and the generation of its code. What a
/// reader keeps beside stands between the two parts.
const GRANTED: &str = "SELECT p.id::text AS key, concat_ws(' ',
    CASE p.state WHEN 'active' THEN 'active' WHEN 'frozen' THEN 'frozen'
      WHEN 'refunding' THEN 'frozen' ELSE 'revoked' END,
    'version', p.version, 'scope', p.scope,
    'from', (p.start_date - DATE '2024-01-01') * 1440,
    'until', (p.end_date - DATE '2024-01-01') * 1440, 'generation', p.generation, ";
const OF_PASSES: &str = ") AS fact
  FROM pass p
  LEFT JOIN refund r ON r.pass = p.id AND r.ordinal = p.refund AND r.state = 'counting'
  WHERE p.start_date IS NOT NULL
    AND p.state IN ('active', 'frozen', 'refunding', 'refunded', 'voided')";

const PAIRS: [Pair; 11] = [
    Pair {
        id: "cross.identity_entitlements",
        zh: "identity 据以签发凭证的权益与 passes 授予的一致",
        en: "identity mints from the entitlements that passes granted",
        left: Query {
            service: "passes",
            sql: &[GRANTED, "'member', p.member", OF_PASSES],
        },
        right: Query {
            service: "identity",
            sql: &[
                "SELECT id::text AS key, concat_ws(' ', state, 'version', version, 'scope', scope,
                    'from', valid_from, 'until', valid_until, 'generation', generation,
                    'member', member) AS fact
                  FROM entitlement WHERE state <> 'unknown' AND kind = 'pass'",
            ],
        },
    },
    Pair {
        id: "cross.admission_entitlements",
        zh: "admission 据以放行的权益与 passes 授予的一致",
        en: "admission admits by the entitlements that passes granted",
        left: Query {
            service: "passes",
            sql: &[
                GRANTED,
                "'rules', p.product_version, 'freeze', COALESCE(r.freeze_version, 0),
                 'order', p.order_id",
                OF_PASSES,
            ],
        },
        right: Query {
            service: "admission",
            sql: &[
                "SELECT id::text AS key, concat_ws(' ', state, 'version', version, 'scope', scope,
                    'from', valid_from, 'until', valid_until, 'generation', gen,
                    'rules', rules_version, 'freeze', freeze_version, 'order', order_id) AS fact
                  FROM entitlement WHERE state <> 'unseen'",
            ],
        },
    },
    Pair {
        id: "cross.blocked",
        zh: "admission 封锁的权益，identity 不再签发",
        en: "identity mints nothing for what admission has blocked",
        left: Query {
            service: "admission",
            sql: &["SELECT id::text AS key, 'blocked' AS fact FROM entitlement WHERE blocked"],
        },
        right: Query {
            service: "identity",
            sql: &["SELECT id::text AS key, 'blocked' AS fact FROM entitlement WHERE blocked"],
        },
    },
    Pair {
        id: "cross.orders",
        zh: "每张通行证的状态与其订单的钱一致：已付则有证，关闭则无证",
        en: "each pass and the money of its order agree: paid is a pass, closed is none",
        left: Query {
            service: "passes",
            sql: &["SELECT order_id::text AS key, concat_ws(' ',
                    CASE state WHEN 'awaiting_payment' THEN 'open' WHEN 'lapsed' THEN 'closed'
                      ELSE 'paid' END, price_fen, 'fen') AS fact
                  FROM pass"],
        },
        right: Query {
            service: "billing",
            sql: &[
                "SELECT id::text AS key, concat_ws(' ', state, total_fen, 'fen') AS fact
                  FROM orders WHERE seller = 'passes'",
            ],
        },
    },
    Pair {
        id: "cross.order_replica",
        zh: "passes 知道的订单与 billing 一致",
        en: "passes knows the orders that billing has ended or taken money for",
        left: Query {
            service: "billing",
            sql: &[
                "SELECT id::text AS key, concat_ws(' ', number, state, 'total', total_fen,
                    'refunded', refunded_fen) AS fact
                  FROM orders WHERE seller = 'passes' AND state <> 'open'",
            ],
        },
        right: Query {
            service: "passes",
            sql: &[
                "SELECT id::text AS key, concat_ws(' ', number, state, 'total', total_fen,
                    'refunded', refunded_fen) AS fact
                  FROM replica_order WHERE state <> 'open'",
            ],
        },
    },
    Pair {
        id: "cross.refunds",
        zh: "passes 退回的每一笔，billing 都照数退款",
        en: "billing refunds each return of passes, to the fen",
        left: Query {
            service: "passes",
            sql: &[
                "SELECT return_id::text AS key, concat_ws(' ', refund_fen, 'fen',
                    CASE state WHEN 'done' THEN 'done' ELSE 'waiting' END) AS fact
                  FROM refund WHERE state IN ('returned', 'done') AND refund_fen > 0",
            ],
        },
        right: Query {
            service: "billing",
            sql: &["SELECT id::text AS key, concat_ws(' ', fen, 'fen',
                    CASE state WHEN 'done' THEN 'done' ELSE 'waiting' END) AS fact
                  FROM refund WHERE cause = 'returned' AND fen > 0"],
        },
    },
    Pair {
        id: "cross.refund_sums",
        zh: "每个订单退款之和，passes 与 billing 一致",
        en: "what was refunded of each order is the same sum in passes and billing",
        left: Query {
            service: "passes",
            sql: &[
                "SELECT p.order_id::text AS key, sum(r.refund_fen)::text || ' fen' AS fact
                  FROM refund r JOIN pass p ON p.id = r.pass
                  WHERE r.state = 'done' AND r.refund_fen > 0 GROUP BY p.order_id",
            ],
        },
        right: Query {
            service: "billing",
            sql: &[
                "SELECT id::text AS key, refunded_fen::text || ' fen' AS fact
                  FROM orders WHERE seller = 'passes' AND state = 'paid' AND refunded_fen > 0",
            ],
        },
    },
    Pair {
        id: USES,
        zh: "每次入场都记在通行证的使用记录里，不多不少；已注销的人的除外",
        en: "each admission is in its pass's usage, and nothing else is, but of who was forgotten",
        left: Query {
            service: "admission",
            sql: &[
                "SELECT id::text AS key, concat_ws(' ', direction, 'pass', entitlement, venue,
                    counted_on, persons, 'persons',
                    CASE WHEN voided_at IS NOT NULL THEN 'voided' END) AS fact
                  FROM redemption WHERE decision = 'admit'
                    AND entitlement <> ALL ('{forgotten}'::bigint[])",
            ],
        },
        right: Query {
            service: "passes",
            sql: &[
                "SELECT id::text AS key, concat_ws(' ', CASE WHEN entry THEN 'entry'
                    ELSE 'exit' END, 'pass', pass, venue, date, persons, 'persons',
                    CASE WHEN voided THEN 'voided' END) AS fact
                  FROM replica_use",
            ],
        },
    },
    Pair {
        id: "cross.venues",
        zh: "passes 知道的场馆与 admission 一致",
        en: "passes knows the venues that admission has",
        left: Query {
            service: "admission",
            sql: &[
                "SELECT id::text AS key, concat_ws(' ', 'version', version, name_zh,
                    CASE WHEN suspended THEN 'suspended' END) AS fact FROM venue",
            ],
        },
        right: Query {
            service: "passes",
            sql: &[
                "SELECT id::text AS key, concat_ws(' ', 'version', version, name_zh,
                    CASE WHEN suspended THEN 'suspended' END) AS fact FROM replica_venue",
            ],
        },
    },
    Pair {
        id: "cross.products",
        zh: "admission 知道的产品与 passes 公布的一致",
        en: "admission knows the products that passes has published",
        left: Query {
            service: "passes",
            sql: &[
                "SELECT scope::text AS key, concat_ws(' ', 'product', id, state, 'version',
                    version, 'rules', current) AS fact
                  FROM product WHERE state <> 'draft'",
            ],
        },
        right: Query {
            service: "admission",
            sql: &[
                "SELECT scope::text AS key, concat_ws(' ', 'product', id, state, 'version',
                    version, 'rules', rules_version) AS fact FROM product",
            ],
        },
    },
    Pair {
        id: "cross.rules",
        zh: "admission 判断入场的规则与售出时的一字不差",
        en: "admission judges by the very rules that passes sold under",
        left: Query {
            service: "passes",
            sql: &[
                "SELECT p.scope || '/' || v.number AS key, encode(sha256(v.rules), 'hex') AS fact
                  FROM product_version v JOIN product p ON p.id = v.product
                  WHERE v.published_at IS NOT NULL",
            ],
        },
        right: Query {
            service: "admission",
            sql: &["SELECT scope || '/' || rules_version AS key,
                    encode(sha256(rules), 'hex') AS fact FROM product_rules"],
        },
    },
];
