//! What must hold in billing's database after everything that happened to it.

use kit::verify::Invariant;

/// The promises of billing; those of the chassis are kit's.
pub const INVARIANTS: &[Invariant] = &[
    Invariant {
        id: "billing.ledger_balances",
        zh: "账本借贷相等",
        en: "debits equal credits",
        sql: "SELECT 'ledger' AS subject, 'debits ' || sum(debit_fen)::text || ', credits '
                || sum(credit_fen)::text AS problem
              FROM account_balance HAVING sum(debit_fen) <> sum(credit_fen)",
    },
    Invariant {
        id: "billing.paid_once",
        zh: "每个已付且有金额的订单恰有一笔成功付款和一笔入账",
        en: "an order that money was paid for has exactly one payment and one receipt of its total",
        sql: "SELECT o.number AS subject, 'paid ' || o.paid_fen::text || ', payments '
                || count(p.id)::text || ', received ' || COALESCE(sum(r.fen), 0)::text AS problem
              FROM orders o
              LEFT JOIN payment p ON p.order_id = o.id AND p.state = 'succeeded'
              LEFT JOIN receipt r ON r.payment = p.id AND r.kind = 'order'
              WHERE o.total_fen > 0
              GROUP BY o.id HAVING o.paid_fen <> COALESCE(sum(r.fen), 0)
                OR (count(p.id) = 1) <> (o.paid_fen > 0) OR count(p.id) > 1",
    },
    Invariant {
        id: "billing.refunds_within_payments",
        zh: "退款不超过所收金额",
        en: "what goes back never exceeds what came",
        sql: "SELECT r.transaction_id AS subject, 'received ' || r.fen::text || ', goes back '
                || COALESCE(sum(f.fen), 0)::text AS problem
              FROM receipt r LEFT JOIN refund f ON f.transaction_id = r.transaction_id
              GROUP BY r.transaction_id
              HAVING COALESCE(sum(f.fen), 0) > r.fen OR COALESCE(sum(f.fen), 0) <> r.returned_fen
                OR COALESCE(sum(f.fen) FILTER (WHERE f.state = 'done'), 0) <> r.refunded_fen",
    },
    Invariant {
        id: "billing.order_refunds_add_up",
        zh: "订单的退款数等于其退款记录之和",
        en: "an order's returns and refunds are the sums of its refunds",
        sql: "SELECT o.number AS subject, 'returned ' || o.returned_fen::text || ', refunded '
                || o.refunded_fen::text AS problem
              FROM orders o LEFT JOIN refund f
                ON f.order_id = o.id AND f.cause IN ('returned', 'refused')
              GROUP BY o.id
              HAVING COALESCE(sum(f.fen), 0) <> o.returned_fen
                OR COALESCE(sum(f.fen) FILTER (WHERE f.state = 'done'), 0) <> o.refunded_fen",
    },
    Invariant {
        id: "billing.lines_add_up",
        zh: "订单金额等于各行之和，各行等于其分摊之和",
        en: "an order is the sum of its lines, a line of its shares, in price and in returns",
        sql: "SELECT o.number AS subject, 'lines do not add up' AS problem
              FROM orders o LEFT JOIN order_line l ON l.order_id = o.id
              GROUP BY o.id HAVING COALESCE(sum(l.price_fen), 0) <> o.total_fen
                OR COALESCE(sum(l.returned_fen), 0) <> o.returned_fen
              UNION ALL
              SELECT l.id::text, 'shares do not add up'
              FROM order_line l LEFT JOIN line_share s ON s.line = l.id
              GROUP BY l.id HAVING COALESCE(sum(s.fen), 0) <> l.price_fen
                OR COALESCE(sum(s.returned_fen), 0) <> l.returned_fen",
    },
    Invariant {
        id: "billing.nothing_open_too_long",
        zh: "没有超过关闭时间仍未结束的订单",
        en: "no order is open a quarter of an hour after it was to be closed",
        sql: "SELECT number AS subject, 'open since ' || close_at::text AS problem
              FROM orders WHERE state = 'open' AND close_at < now() - interval '15 minutes'",
    },
    Invariant {
        id: "billing.ended_orders_have_no_open_payment",
        zh: "已结束的订单没有待付的付款",
        en: "by no payment of a closed order can money come",
        sql: "SELECT p.out_trade_no AS subject, 'payment ' || p.state || ', order ' || o.state
                AS problem
              FROM payment p JOIN orders o ON o.id = p.order_id
              WHERE o.state = 'closed' AND p.state IN ('preparing', 'waiting')",
    },
    Invariant {
        id: "billing.receipts_are_booked",
        zh: "每笔收款都有对应的账本记录",
        en: "every receipt is in the ledger with its amount",
        sql: "SELECT r.transaction_id AS subject, 'not in the ledger as it came' AS problem
              FROM receipt r LEFT JOIN transfer t
                ON t.cause = 'receipt/' || r.transaction_id AND t.fen = r.fen
              WHERE t.id IS NULL",
    },
    Invariant {
        id: "billing.refunds_are_booked",
        zh: "每笔退款都有对应的账本记录",
        en: "every refund is in the ledger as owed, and as done when it is",
        sql: "SELECT f.id::text AS subject, 'not in the ledger as it went' AS problem
              FROM refund f
              LEFT JOIN transfer o ON o.cause = 'refund-owed/' || f.id::text AND o.fen = f.fen
              LEFT JOIN transfer d ON d.cause = 'refund-done/' || f.id::text AND d.fen = f.fen
              WHERE f.fen > 0
                AND (o.id IS NULL OR (f.state = 'done') <> (d.id IS NOT NULL))",
    },
    Invariant {
        id: "billing.ledger_agrees_with_orders",
        zh: "账本余额与订单、退款、收款一致",
        en: "the balances are what orders, refunds and receipts say",
        sql: "SELECT b.code AS subject, 'balance ' || b.fen::text || ', expected '
                || e.fen::text AS problem
              FROM (SELECT code, credit_fen - debit_fen AS fen FROM account_balance) b
              JOIN (
                SELECT 'deferred' AS code,
                  COALESCE((SELECT sum(paid_fen - returned_fen) FROM orders), 0) AS fen
                UNION ALL SELECT 'prepaid', 0
                UNION ALL SELECT 'refunds_payable',
                  COALESCE((SELECT sum(fen) FROM refund WHERE state <> 'done'), 0)
                UNION ALL SELECT 'suspense', COALESCE((SELECT sum(fen - returned_fen)
                  FROM receipt WHERE kind <> 'order'), 0)
              ) e ON e.code = b.code
              WHERE b.fen <> e.fen",
    },
    Invariant {
        id: "billing.returned_money_is_explained",
        zh: "已全额退回的错款不再列为待处理差异",
        en: "nobody is asked to look at wrong money that has gone back",
        sql: "SELECT d.subject, d.kind || ' is open and all of it has gone back' AS problem
              FROM discrepancy d JOIN receipt r ON r.out_trade_no = d.subject
              JOIN refund f ON f.transaction_id = r.transaction_id AND f.state = 'done'
              WHERE d.state = 'open' AND r.refunded_fen = r.fen
                AND (d.kind, f.cause) IN (('amount_differs', 'mismatch'),
                  ('unknown_order', 'unknown'))
                AND NOT EXISTS (SELECT 1 FROM notice n WHERE n.out_trade_no = d.subject
                  AND n.last_at > f.done_at)",
    },
    Invariant {
        id: "billing.closed_attempts_are_kept",
        zh: "每次被渠道关闭的退款申请都有记录",
        en: "every attempt of a refund before its last is kept as closed",
        sql: "SELECT f.id::text AS subject,
                'attempt ' || f.attempt::text || ', closed ' || count(c.refund)::text AS problem
              FROM refund f JOIN closed_attempt c ON c.refund = f.id
              GROUP BY f.id HAVING max(c.attempt) NOT IN (f.attempt, f.attempt - 1)
                OR count(*) <> max(c.attempt) - min(c.attempt) + 1",
    },
    Invariant {
        id: "billing.every_wait_has_work",
        zh: "每个等待中的状态都有待办",
        en: "whatever waits has due work",
        sql: "SELECT o.number AS subject, 'open without a close to come' AS problem
              FROM orders o WHERE o.state = 'open' AND NOT EXISTS (
                SELECT 1 FROM due d WHERE d.kind = 'close' AND d.subject = o.id::text)
              UNION ALL
              SELECT p.out_trade_no, 'waits and is not asked about'
              FROM payment p WHERE (p.state = 'preparing' AND NOT EXISTS (
                SELECT 1 FROM due d WHERE d.kind IN ('prepare', 'unprepared')
                  AND d.subject = p.id::text))
                OR (p.state = 'waiting' AND NOT EXISTS (
                SELECT 1 FROM due d WHERE d.kind = 'query' AND d.subject = p.id::text))
              UNION ALL
              SELECT f.out_refund_no, 'waits and is not asked about'
              FROM refund f WHERE f.state NOT IN ('given_up', 'done') AND NOT EXISTS (
                SELECT 1 FROM due d WHERE d.kind IN ('refund', 'refund_query')
                  AND d.subject = f.id::text)
              UNION ALL
              SELECT f.out_refund_no, 'waits for a person and nobody is told'
              FROM refund f WHERE f.state = 'given_up' AND NOT EXISTS (
                SELECT 1 FROM discrepancy d WHERE d.kind = 'refund_stuck' AND d.state = 'open'
                  AND d.subject = f.id::text)",
    },
];
