//! What must hold in this database after everything that happened to it.

use kit::verify::Invariant;

/// The promises of passes; those of the chassis are kit's.
pub const INVARIANTS: &[Invariant] = &[
    Invariant {
        id: "passes.never_oversold",
        zh: "已售与待支付之和不超过发售总量",
        en: "what is sold and awaits payment is within the sale limit",
        sql: "SELECT product::text AS subject,
                held::text || ' held, ' || sold::text || ' sold of ' || sale_limit::text AS problem
              FROM product_stock WHERE held + sold > sale_limit",
    },
    Invariant {
        id: "passes.stock_is_counted",
        zh: "库存数量等于相应状态的年票张数",
        en: "the stock is the count of the passes in those states",
        sql: "SELECT s.product::text AS subject,
                'held ' || s.held::text || ' and ' || c.held::text || ' await payment, sold '
                  || s.sold::text || ' and ' || c.sold::text || ' were paid' AS problem
              FROM product_stock s JOIN (
                SELECT r.id AS product,
                  count(p.id) FILTER (WHERE p.state = 'awaiting_payment') AS held,
                  count(p.id) FILTER (WHERE p.state NOT IN ('awaiting_payment', 'lapsed')) AS sold
                FROM product r LEFT JOIN pass p ON p.product = r.id GROUP BY r.id) c
                ON c.product = s.product
              WHERE s.held <> c.held OR s.sold <> c.sold",
    },
    Invariant {
        id: "passes.member_limit",
        zh: "个人购买数量等于其年票张数且不超过限购",
        en: "what a member bought is the count of her passes, and within the limit",
        sql: "SELECT m.product::text || '/' || m.member::text AS subject,
                m.bought::text || ' counted, ' || c.count::text || ' there' AS problem
              FROM member_sale m CROSS JOIN LATERAL (
                SELECT count(*) AS count FROM pass p
                WHERE p.product = m.product AND p.member = m.member AND p.renews IS NULL
                  AND p.state <> 'lapsed') c
              WHERE m.bought <> c.count OR m.bought > m.member_limit",
    },
    Invariant {
        id: "passes.paid_has_pass",
        zh: "每个已支付的订单都有一张有效状态的年票",
        en: "each paid order has its pass, paid as well",
        sql:
            "SELECT o.id::text AS subject, COALESCE('its pass is ' || p.state, 'no pass') AS problem
              FROM replica_order o LEFT JOIN pass p ON p.order_id = o.id
              WHERE o.state = 'paid' AND o.refunded_fen < o.total_fen
                AND (p.id IS NULL OR p.state = 'lapsed'
                  OR (p.state = 'awaiting_payment' AND p.hold <> 'refused'))",
    },
    Invariant {
        id: "passes.closed_has_no_pass",
        zh: "已关闭且未退款的订单没有生效的年票",
        en: "no order that was closed unpaid has a live pass",
        sql: "SELECT o.id::text AS subject, 'its pass is ' || p.state AS problem
              FROM replica_order o JOIN pass p ON p.order_id = o.id
              WHERE o.state = 'closed' AND p.state IN ('ready', 'active', 'frozen')",
    },
    Invariant {
        id: "passes.holds_end",
        zh: "没有超过支付期限仍未处理的待支付年票",
        en: "no pass awaits payment past its time without somebody looking at it",
        sql: "SELECT p.id::text AS subject, 'no timer ends its hold' AS problem
              FROM pass p WHERE p.state = 'awaiting_payment' AND NOT EXISTS
                (SELECT 1 FROM due d WHERE d.kind = 'hold'
                   AND d.subject = lpad(to_hex(p.id), 16, '0'))",
    },
    Invariant {
        id: "passes.holds_told",
        zh: "超过支付期限的年票已通知结算",
        en: "billing was told of every hold whose time has been over for an hour",
        sql: "SELECT p.id::text AS subject, 'still held' AS problem
              FROM pass p WHERE p.state = 'awaiting_payment' AND p.hold = 'held'
                AND p.close_at < now() - interval '1 hour'
                AND EXISTS (SELECT 1 FROM due d WHERE d.kind = 'hold'
                  AND d.subject = lpad(to_hex(p.id), 16, '0') AND d.attempts > 3)",
    },
    Invariant {
        id: "passes.ready_has_deadline",
        zh: "每张待激活的年票都有到期处理",
        en: "each pass that waits to be activated has a timer",
        sql: "SELECT p.id::text AS subject, 'no timer ends its wait' AS problem
              FROM pass p WHERE p.state = 'ready' AND NOT EXISTS
                (SELECT 1 FROM due d WHERE d.kind = 'activation'
                   AND d.subject = lpad(to_hex(p.id), 16, '0'))",
    },
    Invariant {
        id: "passes.refund_moves",
        zh: "每笔进行中的退款都有到期处理",
        en: "each refund in progress has a timer",
        sql: "SELECT p.id::text AS subject, 'no timer moves its refund' AS problem
              FROM pass p JOIN refund r ON r.pass = p.id AND r.ordinal = p.refund
              WHERE r.state IN ('counting', 'returned') AND NOT EXISTS
                (SELECT 1 FROM due d WHERE d.kind = 'refund'
                   AND d.subject = lpad(to_hex(p.id), 16, '0'))",
    },
    Invariant {
        id: "passes.refund_within_price",
        zh: "退款金额加手续费等于票价",
        en: "what goes back and what is kept are the price",
        sql: "SELECT r.return_id::text AS subject,
                r.refund_fen::text || ' + ' || r.fee_fen::text || ' of ' || p.price_fen::text
                  AS problem
              FROM refund r JOIN pass p ON p.id = r.pass
              WHERE r.refund_fen + r.fee_fen <> p.price_fen",
    },
    Invariant {
        id: "passes.refunded_is_done",
        zh: "年票与其退款的状态一致",
        en: "a pass and its refund agree",
        sql: "SELECT p.id::text AS subject, p.state || ' with a refund ' || r.state AS problem
              FROM pass p JOIN refund r ON r.pass = p.id AND r.ordinal = p.refund
              WHERE (p.state = 'refunding' AND r.state NOT IN ('counting', 'returned'))
                 OR (p.state = 'refunded' AND r.state <> 'done')
                 OR (p.state = 'voided' AND r.cause = 'voided'
                   AND r.state NOT IN ('returned', 'done'))
                 OR (p.state IN ('ready', 'active', 'frozen') AND r.state <> 'refused')",
    },
    Invariant {
        id: "passes.counted_before_refund",
        zh: "已授权入园的年票，先冻结清点后退款",
        en: "no money goes back for a pass that gates knew before its freeze was answered",
        sql: "SELECT p.id::text AS subject, 'its refund is ' || r.state || ' uncounted' AS problem
              FROM refund r JOIN pass p ON p.id = r.pass
              WHERE p.start_date IS NOT NULL AND r.state IN ('returned', 'done')
                AND r.freeze_version IS NULL",
    },
    Invariant {
        id: "passes.generations_counted",
        zh: "年票换码代次等于换码记录数",
        en: "a pass's generation is how often its code was issued again",
        sql: "SELECT p.id::text AS subject,
                'generation ' || p.generation::text || ', issued again ' || count(r.pass)::text
                  AS problem
              FROM pass p LEFT JOIN reissue r ON r.pass = p.id
              GROUP BY p.id HAVING p.generation <> count(r.pass)
                OR p.generation <> COALESCE(max(r.generation), 0)",
    },
    Invariant {
        id: "passes.sold_to_members",
        zh: "年票只售予工会会员",
        en: "every pass was bought by somebody who has been a member of a union",
        sql: "WITH RECURSIVE merged (one, other) AS (
                SELECT id, merged_into FROM replica_member WHERE merged_into IS NOT NULL
                UNION ALL
                SELECT merged_into, id FROM replica_member WHERE merged_into IS NOT NULL
              ), person (member, id) AS (
                SELECT DISTINCT member, member FROM pass
                UNION SELECT person.member, merged.other
                FROM person JOIN merged ON merged.one = person.id)
              SELECT p.id::text AS subject, 'its buyer had joined no union' AS problem
              FROM pass p WHERE NOT EXISTS (
                SELECT 1 FROM person JOIN replica_membership r ON r.member = person.id
                WHERE person.member = p.member AND r.state <> 'applied')",
    },
    Invariant {
        id: "passes.places_hold",
        zh: "每个参观日已占名额等于有效预约数且不超过开放名额",
        en: "the places of a day that are taken are its reservations, and no more than there are",
        sql: "SELECT d.venue::text || ' ' || d.date::text AS subject,
                d.taken::text || ' taken of ' || d.open::text || ', ' || COALESCE(c.count, 0)::text
                  || ' reserved' AS problem
              FROM visit_day d LEFT JOIN (
                SELECT r.venue, r.date, count(*) AS count FROM reservation r
                WHERE r.state = 'held' GROUP BY r.venue, r.date) c
                ON c.venue = d.venue AND c.date = d.date
              WHERE d.taken <> COALESCE(c.count, 0) OR d.taken > d.open",
    },
    Invariant {
        id: "passes.entered_as_reserved",
        zh: "须预约的年票，每次入园都有当天该场馆的预约",
        en: "whoever entered with a pass that needs it had reserved that venue and day",
        sql: "SELECT u.id::text AS subject, 'entered without a reservation' AS problem
              FROM replica_use u JOIN pass p ON p.id = u.pass
              JOIN product_version v ON v.product = p.product AND v.number = p.product_version
              WHERE v.reservation AND u.entry AND NOT u.voided AND NOT u.overridden
                AND NOT EXISTS (SELECT 1 FROM reservation r WHERE r.pass = u.pass
                  AND r.venue = u.venue AND r.date = u.date AND r.state = 'held')",
    },
    Invariant {
        id: "passes.ended_holds_no_place",
        zh: "已退款、退款已定或作废的年票不占用之后的预约名额",
        en: "a pass that has ended, or whose money is on its way, keeps no place of a later day",
        sql: "SELECT r.id::text AS subject, 'held by a pass that is ' || p.state AS problem
              FROM reservation r JOIN pass p ON p.id = r.pass
              LEFT JOIN refund b ON b.pass = p.id AND b.ordinal = p.refund
              WHERE r.state = 'held' AND (p.state IN ('refunded', 'voided')
                  OR (p.state = 'refunding' AND b.state IN ('returned', 'done')))
                AND r.date > (p.changed_at AT TIME ZONE 'Asia/Shanghai')::date",
    },
    Invariant {
        id: "passes.forgotten_enters_nowhere",
        zh: "已注销者没有可用的年票",
        en: "nobody who was forgotten has a pass that could still open a door",
        sql: "SELECT p.id::text AS subject, 'is ' || p.state || ', its holder forgotten' AS problem
              FROM pass p JOIN replica_erasure e ON e.member = p.member
              WHERE e.state = 'erased' AND p.state IN ('ready', 'active', 'frozen')",
    },
    Invariant {
        id: "passes.forgotten_is_paid_back",
        zh: "已注销者的年票，凡条款仍须退款的都已退款",
        en: "no pass ended with its holder while its terms still gave its price back",
        sql: "SELECT p.id::text AS subject, 'ended with its holder, unrefunded' AS problem
              FROM pass p JOIN replica_erasure e ON e.member = p.member AND e.state = 'erased'
              JOIN product_version v ON v.product = p.product AND v.number = p.product_version
              WHERE p.state = 'voided' AND p.reason = 'MEMBER_ERASED' AND p.price_fen > 0
                AND ((v.activation = 'refund' AND p.start_date IS NULL) OR EXISTS (
                  SELECT 1 FROM jsonb_array_elements(v.refund_ladder) AS s
                  WHERE NOT (s ->> 'unused_only')::boolean
                    AND (p.changed_at AT TIME ZONE 'Asia/Shanghai')::date
                      - (p.paid_at AT TIME ZONE 'Asia/Shanghai')::date < (s ->> 'days')::int))",
    },
    Invariant {
        id: "passes.one_successor",
        zh: "每张年票最多续期一次",
        en: "a pass is continued by at most one other",
        sql: "SELECT renews::text AS subject, count(*)::text || ' continue it' AS problem
              FROM pass WHERE renews IS NOT NULL
                AND state NOT IN ('lapsed', 'refunded', 'voided', 'forfeited')
              GROUP BY renews HAVING count(*) > 1 OR count(renewing) <> count(*)",
    },
];
