//! What must hold in this service's database after everything that happened to it.

use kit::verify::Invariant;

/// This service's promises; kit's own come beside.
pub const INVARIANTS: &[Invariant] = &[
    Invariant {
        id: "admission.entries_within_rules",
        zh: "每个凭证的入园次数不超过当时的规则",
        en: "no entitlement entered more often than the rules of that moment allowed",
        sql: "SELECT to_hex(entitlement) || ' at ' || venue::text || ' on ' || counted_on::text
                AS subject, persons::text || ' entered, ' || allowed::text || ' allowed' AS problem
              FROM (SELECT entitlement, venue, counted_on, sum(persons) AS persons,
                      max(limit_day_here) AS allowed
                    FROM redemption
                    WHERE decision = 'admit' AND direction = 'entry' AND voided_at IS NULL
                      AND NOT overridden
                    GROUP BY 1, 2, 3 HAVING bool_and(limit_day_here IS NOT NULL)) AS d
              WHERE persons > allowed
              UNION ALL
              SELECT to_hex(entitlement) || ' on ' || counted_on::text,
                persons::text || ' entered, ' || allowed::text || ' allowed'
              FROM (SELECT entitlement, counted_on, sum(persons) AS persons,
                      max(limit_day) AS allowed
                    FROM redemption
                    WHERE decision = 'admit' AND direction = 'entry' AND voided_at IS NULL
                      AND NOT overridden
                    GROUP BY 1, 2 HAVING bool_and(limit_day IS NOT NULL)) AS d
              WHERE persons > allowed
              UNION ALL
              SELECT to_hex(entitlement) || ' at ' || venue::text,
                persons::text || ' entered, ' || allowed::text || ' allowed'
              FROM (SELECT entitlement, venue, sum(persons) AS persons, max(limit_here) AS allowed
                    FROM redemption
                    WHERE decision = 'admit' AND direction = 'entry' AND voided_at IS NULL
                      AND NOT overridden
                    GROUP BY 1, 2 HAVING bool_and(limit_here IS NOT NULL)) AS d
              WHERE persons > allowed
              UNION ALL
              SELECT to_hex(entitlement),
                persons::text || ' entered, ' || allowed::text || ' allowed in all'
              FROM (SELECT entitlement, sum(persons) AS persons, max(limit_total) AS allowed
                    FROM redemption
                    WHERE decision = 'admit' AND direction = 'entry' AND voided_at IS NULL
                      AND NOT overridden
                    GROUP BY 1 HAVING bool_and(limit_total IS NOT NULL)) AS d
              WHERE persons > allowed",
    },
    Invariant {
        id: "admission.parties_within_entitlements",
        zh: "每次入园（含人工放行）的人数不超过凭证人数",
        en: "no entry, by hand or not, is of more persons than its entitlement is for",
        sql: "SELECT r.id::text AS subject,
                r.persons::text || ' entered, ' || COALESCE(r.persons_allowed, e.persons)::text
                  || ' in the entitlement' AS problem
              FROM redemption r JOIN entitlement e ON e.id = r.entitlement
              WHERE r.decision = 'admit' AND r.direction = 'entry'
                AND r.persons > COALESCE(r.persons_allowed,
                  CASE WHEN r.overridden THEN e.persons ELSE r.persons END)",
    },
    Invariant {
        id: "admission.one_row_per_scan",
        zh: "每个扫描编号只有一条记录",
        en: "each scan number has exactly one row",
        sql: "SELECT gate::text || '/' || enrolment::text || '/' || seq::text AS subject,
                count(*)::text || ' rows' AS problem
              FROM redemption WHERE seq IS NOT NULL
              GROUP BY gate, enrolment, seq HAVING count(*) > 1",
    },
    Invariant {
        id: "admission.inside_is_sum",
        zh: "在园人数等于入园减出园",
        en: "the number of people inside is entries minus exits",
        sql: "SELECT c.venue::text AS subject,
                c.inside::text || ' counted, ' || COALESCE(s.inside, 0)::text || ' by scans'
                  AS problem
              FROM venue_counter c
              LEFT JOIN LATERAL (SELECT sum(inside_delta) AS inside FROM redemption r
                WHERE r.venue = c.venue AND r.scanned_on = c.day) s ON true
              WHERE c.inside <> COALESCE(s.inside, 0)",
    },
    Invariant {
        id: "admission.presence_is_sum",
        zh: "各凭证在园人数之和等于场馆在园人数",
        en: "who is inside a venue adds up to its counter",
        sql: "SELECT c.venue::text AS subject,
                c.inside::text || ' counted, ' || COALESCE(s.inside, 0)::text || ' present'
                  AS problem
              FROM venue_counter c
              LEFT JOIN LATERAL (SELECT sum(p.inside) AS inside FROM presence p
                WHERE p.venue = c.venue AND p.day = c.day) s ON true
              WHERE c.inside <> COALESCE(s.inside, 0)",
    },
    Invariant {
        id: "admission.figures_are_folds",
        zh: "统计数字等于扫描记录之和",
        en: "figures equal the fold of redemptions",
        sql: "SELECT COALESCE(f.venue, r.venue)::text || ' ' || COALESCE(f.day, r.day)::text || ' '
                || COALESCE(f.what, r.what) AS subject,
                COALESCE(f.times, 0)::text || ' counted, ' || COALESCE(r.times, 0)::text
                  || ' by scans' AS problem
              FROM (SELECT venue, day, gate, what, sum(times) AS times, sum(persons) AS persons
                    FROM figure GROUP BY 1, 2, 3, 4) f
              FULL JOIN (
                SELECT venue, scanned_on AS day, gate,
                  CASE WHEN overridden THEN 'override' WHEN decision = 'admit' THEN direction
                    ELSE decision || ':' || reason END AS what,
                  count(*) AS times, sum(persons) AS persons
                FROM redemption GROUP BY 1, 2, 3, 4
                UNION ALL
                SELECT venue, (voided_at AT TIME ZONE 'Asia/Shanghai')::date, gate, 'void',
                  count(*), sum(persons)
                FROM redemption WHERE voided_at IS NOT NULL GROUP BY 1, 2, 3
              ) r USING (venue, day, gate, what)
              WHERE (f.times, f.persons) IS DISTINCT FROM (r.times, r.persons)",
    },
    Invariant {
        id: "admission.uses_are_answered_for",
        zh: "每次入园的凭证都有发放方，否则不计费",
        en: "every use has an entitlement somebody answers for, or is unpaid, or waits for it",
        sql: "SELECT r.id::text AS subject, 'admitted, and nobody answers for it' AS problem
              FROM redemption r LEFT JOIN entitlement e ON e.id = r.entitlement
              WHERE r.decision = 'admit' AND r.direction = 'entry'
                AND (e.id IS NULL OR (e.state = 'unseen' AND r.payable AND NOT EXISTS (
                  SELECT 1 FROM due d WHERE d.kind = 'unseen_check'
                    AND d.subject = lpad(to_hex(r.entitlement), 16, '0'))))
              UNION ALL
              SELECT r.id::text, 'paid although its entitlement is blocked'
              FROM redemption r JOIN entitlement e ON e.id = r.entitlement
              WHERE e.blocked AND r.payable AND r.decision = 'admit' AND r.direction = 'entry'",
    },
    Invariant {
        id: "admission.overrides_and_voids_have_reasons",
        zh: "放行和撤销都有责任人和理由",
        en: "every override and void names who did it and why",
        sql: "SELECT id::text AS subject, 'no person or no reason' AS problem FROM redemption
              WHERE (overridden AND (override_by IS NULL OR override_reason = ''))
                 OR (voided_at IS NOT NULL AND (voided_by IS NULL OR void_reason = ''))",
    },
];
