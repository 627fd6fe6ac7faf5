//! What must hold in identity's database after everything that happened to it.

use kit::verify::Invariant;

/// The promises of identity; those of the chassis are kit's.
pub const INVARIANTS: &[Invariant] = &[
    Invariant {
        id: "identity.tree",
        zh: "每个组织的路径都由其上级的路径加上自身组成",
        en: "every organisation's path is its parent's path and itself",
        sql: "SELECT o.id::text AS subject, 'its path is not below its parent''s' AS problem
              FROM organisation o LEFT JOIN organisation p ON p.id = o.parent
              WHERE o.path <> COALESCE(p.path, '{}') || o.id",
    },
    Invariant {
        id: "identity.closed_is_empty",
        zh: "已撤销的组织没有下级、会员和角色",
        en: "a closed organisation has no open branch, membership or role",
        sql: "SELECT o.id::text AS subject, 'closed with something open in it' AS problem
              FROM organisation o WHERE o.closed_at IS NOT NULL AND (
                EXISTS (SELECT 1 FROM organisation c
                        WHERE c.parent = o.id AND c.closed_at IS NULL)
                OR EXISTS (SELECT 1 FROM membership m
                           WHERE m.organisation = o.id AND m.until IS NULL)
                OR EXISTS (SELECT 1 FROM role r
                           WHERE r.organisation = o.id AND r.withdrawn_at IS NULL))",
    },
    Invariant {
        id: "identity.person_has_vault",
        zh: "在册或已并入他人的会员都有加密档案",
        en: "every member who is active or merged has a sealed record, and no other has",
        sql: "SELECT m.id::text AS subject, 'state ' || m.state AS problem
              FROM member m LEFT JOIN person p ON p.member = m.id
              WHERE (m.state <> 'erased') <> (p.member IS NOT NULL)",
    },
    Invariant {
        id: "identity.people_are_found",
        zh: "按现行规则建立索引的人都有检索词",
        en: "who counts as indexed by name has terms to be found by, and nobody else has any",
        sql: "SELECT p.member::text AS subject, 'of version ' || p.search_version AS problem
              FROM person p WHERE (p.search_version > 0) <> EXISTS
                (SELECT 1 FROM search_term s WHERE s.member = p.member)",
    },
    Invariant {
        id: "identity.applications_end",
        zh: "每项待处理的入会申请都有定时终结",
        en: "each application for a membership that waits has a timer",
        sql: "SELECT a.id::text AS subject, 'no timer ends it' AS problem
              FROM membership_application a WHERE a.state = 'waiting' AND NOT EXISTS
                (SELECT 1 FROM due d
                 WHERE d.kind = 'membership_application' AND d.subject = a.id::text)",
    },
    Invariant {
        id: "identity.approved_are_members",
        zh: "获批的申请都产生了该组织的会籍",
        en: "every approved application made a membership of its organisation",
        sql: "SELECT a.id::text AS subject, 'its membership is elsewhere' AS problem
              FROM membership_application a LEFT JOIN membership m ON m.id = a.membership
              WHERE a.state = 'approved' AND m.organisation IS DISTINCT FROM a.organisation",
    },
    Invariant {
        id: "identity.merges_are_flat",
        zh: "档案只并入未被合并的档案",
        en: "no record is merged into one that is merged itself",
        sql: "SELECT m.id::text AS subject, 'into ' || s.id || ', itself merged' AS problem
              FROM member m JOIN member s ON s.id = m.merged_into WHERE s.state = 'merged'",
    },
    Invariant {
        id: "identity.merges_by_two",
        zh: "每次合并都由两人办理且可追溯，并入的档案没有角色、登录和检索词",
        en: "two operators made each merge, and a merged record has no role, login or search term",
        sql: "SELECT m.id::text AS subject, 'no merge, or more than it may have' AS problem
              FROM member m WHERE m.state = 'merged' AND (NOT EXISTS (
                  SELECT 1 FROM member_merge g WHERE g.merged = m.id AND g.state = 'done'
                    AND g.survivor = m.merged_into)
                OR EXISTS (SELECT 1 FROM role r
                           WHERE r.member = m.id AND r.withdrawn_at IS NULL)
                OR EXISTS (SELECT 1 FROM login l
                           WHERE l.member = m.id AND l.withdrawn_at IS NULL)
                OR EXISTS (SELECT 1 FROM search_term t WHERE t.member = m.id))
              UNION ALL
              SELECT g.id::text, 'done, and its record is not merged' FROM member_merge g
              JOIN member m ON m.id = g.merged
              WHERE g.state = 'done' AND m.state <> 'erased'
                AND m.merged_into IS DISTINCT FROM g.survivor",
    },
    Invariant {
        id: "identity.merged_alone",
        zh: "已并入他人的档案没有动态口令、待核验、待换手机号、副本、申请、授权提议和注销申请",
        en: "of a merged record nothing is asked, proposed or proven by itself",
        sql: "SELECT m.id::text AS subject, 'has its own ' || w.what AS problem
              FROM member m JOIN (
                SELECT member, 'second factor' AS what FROM second_factor
                UNION ALL SELECT member, 'reset' FROM second_factor_reset WHERE state = 'asked'
                UNION ALL SELECT member, 'verification' FROM verification
                  WHERE state IN ('asked', 'matched')
                UNION ALL SELECT member, 'network identity' FROM network_identity
                UNION ALL SELECT member, 'phone to be' FROM phone_change
                UNION ALL SELECT member, 'recovery' FROM phone_recovery WHERE ended_at IS NULL
                UNION ALL SELECT member, 'phone to be set' FROM phone_setting
                  WHERE state = 'asked'
                UNION ALL SELECT member, 'copy' FROM export
                UNION ALL SELECT member, 'application' FROM membership_application
                  WHERE state = 'waiting'
                UNION ALL SELECT member, 'role proposed' FROM role_proposal WHERE state = 'open'
                UNION ALL SELECT member, 'wish to be forgotten' FROM erasure
                  WHERE ended_at IS NULL
              ) w ON w.member = m.id WHERE m.state = 'merged'",
    },
    Invariant {
        id: "identity.merges_end",
        zh: "每项未决的合并都有定时终结",
        en: "each merge that waits has a timer",
        sql: "SELECT g.id::text AS subject, 'no timer ends it' AS problem FROM member_merge g
              WHERE g.state = 'asked' AND NOT EXISTS
                (SELECT 1 FROM due d WHERE d.kind = 'merge_expiry' AND d.subject = g.id::text)",
    },
    Invariant {
        id: "identity.operators_at_root",
        zh: "运维角色只在本级总工会授予",
        en: "operators are held at the root alone",
        sql: "SELECT r.id::text AS subject, 'an operator below the root' AS problem
              FROM role r JOIN organisation o ON o.id = r.organisation
              WHERE r.role = 'operator' AND cardinality(o.path) > 1",
    },
    Invariant {
        id: "identity.venue_roles_at_partners",
        zh: "场馆角色只在合作单位授予，工会角色只在工会授予",
        en: "venue roles are held at partners, union offices at unions",
        sql: "SELECT r.id::text AS subject, r.role || ' in a ' || o.kind AS problem
              FROM role r JOIN organisation o ON o.id = r.organisation
              WHERE r.withdrawn_at IS NULL AND (
                (r.role IN ('venue_staff', 'venue_manager')) <> (o.kind = 'partner'))",
    },
    Invariant {
        id: "identity.no_office_after_leaving",
        zh: "已退出组织的人在该组织没有角色",
        en: "who has left an organisation holds no role in it",
        sql: "SELECT r.id::text AS subject, r.role || ' of one who has left' AS problem
              FROM role r JOIN membership m
                ON m.member = r.member AND m.organisation = r.organisation
              WHERE r.withdrawn_at IS NULL
              GROUP BY r.id, r.role HAVING bool_and(m.until IS NOT NULL)",
    },
    Invariant {
        id: "identity.powerful_roles_by_two",
        zh: "有效的重要角色都由两人授予，两人都不是持有人",
        en: "no powerful role lives without two distinct persons besides its holder",
        sql: "SELECT r.id::text AS subject, r.role || ' without two others' AS problem
              FROM role r LEFT JOIN role_proposal p
                ON p.id = r.proposal AND p.state = 'confirmed' AND p.ends_at = r.ends_at
                AND (p.member, p.organisation, p.role) = (r.member, r.organisation, r.role)
              WHERE r.withdrawn_at IS NULL AND r.role IN ('approver', 'deputy', 'operator')
                AND r.origin NOT IN ('before', 'machine') AND (p.id IS NULL
                  OR p.decided_by = p.proposed_by OR r.member IN (p.proposed_by, p.decided_by))",
    },
    Invariant {
        id: "identity.roles_end",
        zh: "每个有期限的角色和每项待确认的授权提议都有定时终结",
        en: "each role with an end, and each proposal that waits, has a timer",
        sql: "SELECT id::text AS subject, 'no timer ends it' AS problem FROM (
                SELECT id, 'role_end' AS kind FROM role
                WHERE withdrawn_at IS NULL AND ends_at IS NOT NULL
                UNION ALL
                SELECT id, 'role_proposal' FROM role_proposal WHERE state = 'open'
              ) w WHERE NOT EXISTS
                (SELECT 1 FROM due d WHERE d.kind = w.kind AND d.subject = w.id::text)",
    },
    Invariant {
        id: "identity.memberships_apart",
        zh: "同一人在同一组织的会籍互不重叠",
        en: "memberships of one person in one organisation do not overlap",
        sql: "SELECT a.id::text AS subject, 'overlaps ' || b.id AS problem
              FROM membership a JOIN membership b ON b.member = a.member
                AND b.organisation = a.organisation AND b.id > a.id
              WHERE a.since < COALESCE(b.until, 'infinity')
                AND b.since < COALESCE(a.until, 'infinity')",
    },
    Invariant {
        id: "identity.corrections_are_reviewed",
        zh: "会籍每次更正都有复核，复核人既非更正人也非本人",
        en: "every correction of a membership has a review, by neither its maker nor its subject",
        sql: "SELECT a.id::text AS subject, 'no review of this correction' AS problem
              FROM audit a LEFT JOIN membership_review r ON r.id::text = a.detail->>'review'
                AND r.membership::text = a.subject AND r.corrected_by = a.member
                LEFT JOIN membership m ON m.id = r.membership
              WHERE a.act = 'correct_membership' AND (r.id IS NULL
                OR r.closed_by IN (r.corrected_by, m.member))",
    },
    Invariant {
        id: "identity.reviews_remind",
        zh: "每项未结的会籍复核都有定时提醒",
        en: "each open review of a membership has a timer",
        sql: "SELECT r.id::text AS subject, 'no timer reminds of it' AS problem
              FROM membership_review r WHERE r.closed_at IS NULL AND NOT EXISTS
                (SELECT 1 FROM due d WHERE d.kind = 'review' AND d.subject = r.id::text)",
    },
    Invariant {
        id: "identity.consents_have_history",
        zh: "每项同意都等于其最后一次表示，历史不缺",
        en: "every consent is what was said of it last, and its history lacks nothing",
        sql: "SELECT c.id::text AS subject, 'its history says something else' AS problem
              FROM consent c LEFT JOIN consent_act a
                ON a.consent = c.id AND a.version = c.version
              WHERE (a.given, a.text_version) IS DISTINCT FROM (c.given, c.text_version)
                OR (SELECT count(*) FROM consent_act n WHERE n.consent = c.id) <> c.version",
    },
    Invariant {
        id: "identity.consent_texts_stay",
        zh: "同意过的文本一字未改",
        en: "no text was changed after somebody had agreed to it",
        sql: "SELECT a.id::text AS subject, 'another text than the one agreed to' AS problem
              FROM consent_act a JOIN consent c ON c.id = a.consent
              LEFT JOIN consent_text t ON t.purpose = c.purpose AND t.recipient = c.recipient
                AND t.version = a.text_version
              WHERE a.text_digest IS DISTINCT FROM
                sha256(convert_to(t.zh || E'\\n' || t.en, 'UTF8'))",
    },
    Invariant {
        id: "identity.sms_with_consent",
        zh: "除关系账号安全的以外，没有同意就不发短信通知，撤回一分钟后也不发",
        en: "no notice but one that protects the account goes by SMS without a consent, nor a \
             minute after it was withdrawn",
        sql: "SELECT n.id::text AS subject, 'an SMS without a consent' AS problem
              FROM notice n WHERE n.sms_at IS NOT NULL
                AND n.kind NOT IN ('phone_changed', 'right_used') AND NOT EXISTS (
                SELECT 1 FROM consent c JOIN consent_act a ON a.consent = c.id
                WHERE c.member = n.member AND c.purpose = 'notice_sms'
                  AND c.recipient = 'sms_provider' AND a.given
                  AND a.created_at <= n.sms_at + interval '60 seconds'
                  AND NOT EXISTS (SELECT 1 FROM consent_act w
                    WHERE w.consent = c.id AND w.version > a.version AND NOT w.given
                      AND w.created_at < n.sms_at - interval '60 seconds'))",
    },
    Invariant {
        id: "identity.messages_as_they_may",
        zh: "短信消息不逾期发送，须同意的有同意，未发送的仍有待办",
        en: "no message goes after its time or without the consent it needs, and none is left over",
        sql: "SELECT m.id::text AS subject, 'sent after its time' AS problem
              FROM sms_message m WHERE m.handed_over_at >= m.valid_until
              UNION ALL
              SELECT m.id::text, 'sent without a consent' FROM sms_message m
              WHERE m.handed_over_at IS NOT NULL AND m.purpose = 'notice' AND NOT EXISTS (
                SELECT 1 FROM consent c JOIN consent_act a ON a.consent = c.id
                WHERE c.member IN (m.member,
                    (SELECT k.merged_into FROM member k WHERE k.id = m.member))
                  AND c.purpose = 'notice_sms' AND c.recipient = 'sms_provider' AND a.given
                  AND a.created_at <= m.handed_over_at + interval '60 seconds')
              UNION ALL
              SELECT m.id::text, 'nobody sends it' FROM sms_message m
              WHERE m.state = 'planned' AND NOT EXISTS
                (SELECT 1 FROM due d WHERE d.kind = 'sms_message' AND d.subject = m.id::text)",
    },
    Invariant {
        id: "identity.notices_are_swept",
        zh: "通知不会超期保存",
        en: "no notice is kept longer than people are told",
        sql: "SELECT id::text AS subject, 'of ' || created_at::date AS problem
              FROM notice WHERE created_at < now() - interval '182 days'",
    },
    Invariant {
        id: "identity.erased_is_gone",
        zh: "已注销的人没有数据密钥、检索索引、登录、会籍、角色、同意和任何待办事项",
        en: "of who was forgotten nothing is left to read, to find, to sign in by or to decide",
        sql: "SELECT m.id::text AS subject, 'left: ' || w.what AS problem FROM member m JOIN (
                SELECT member, 'data key' AS what FROM person
                UNION ALL SELECT member, 'document' FROM document
                UNION ALL SELECT member, 'way to sign in' FROM login_method
                UNION ALL SELECT member, 'login' FROM login WHERE withdrawn_at IS NULL
                  OR device IS NOT NULL OR network IS NOT NULL
                UNION ALL SELECT l.member, 'token' FROM login l
                  JOIN refresh_token t ON t.login = l.id
                UNION ALL SELECT member, 'second factor' FROM second_factor
                UNION ALL SELECT member, 'recovery code' FROM recovery_code
                UNION ALL SELECT member, 'membership' FROM membership WHERE until IS NULL
                UNION ALL SELECT member, 'role' FROM role WHERE withdrawn_at IS NULL
                UNION ALL SELECT member, 'consent' FROM consent WHERE given
                UNION ALL SELECT member, 'notice' FROM notice
                UNION ALL SELECT member, 'message' FROM sms_message
                UNION ALL SELECT member, 'copy' FROM export
                UNION ALL SELECT DISTINCT member, 'search term' FROM search_term
                UNION ALL SELECT member, 'verification' FROM verification
                UNION ALL SELECT member, 'network identity' FROM network_identity
                UNION ALL SELECT member, 'phone to be' FROM phone_change
                UNION ALL SELECT member, 'former phone' FROM former_phone
                UNION ALL SELECT member, 'recovery' FROM phone_recovery
                UNION ALL SELECT member, 'application' FROM membership_application
                UNION ALL SELECT member, 'preference' FROM notice_preference
                UNION ALL SELECT h.member, 'role proposed' FROM role_proposal p
                  CROSS JOIN LATERAL (VALUES (p.member), (p.proposed_by)) h (member)
                  WHERE p.state = 'open'
                UNION ALL SELECT h.member, 'reset' FROM second_factor_reset r
                  CROSS JOIN LATERAL (VALUES (r.member), (r.asked_by)) h (member)
                  WHERE r.state = 'asked'
                UNION ALL SELECT h.member, 'phone to be set' FROM phone_setting e
                  CROSS JOIN LATERAL (VALUES (e.member), (e.asked_by)) h (member)
                  WHERE e.state = 'asked'
                UNION ALL SELECT h.member, 'merge' FROM member_merge g
                  CROSS JOIN LATERAL (VALUES (g.survivor), (g.merged)) h (member)
                  WHERE g.state = 'asked'
                UNION ALL SELECT h.member, 'hash of a merge' FROM member_merge g
                  CROSS JOIN LATERAL (VALUES (g.survivor), (g.merged)) h (member)
                  WHERE g.networks <> '{}'
                UNION ALL SELECT asker, 'file' FROM rendering WHERE state = 'ready'
                UNION ALL SELECT f.asker, 'address of a file' FROM rendering_address a
                  JOIN rendering f ON f.id = a.rendering
                UNION ALL SELECT w.member, 'row of a roster' FROM roster_row w
                  JOIN roster r ON r.id = w.roster
                  WHERE r.state NOT IN ('committed', 'failed', 'expired')
              ) w ON w.member = m.id WHERE m.state = 'erased'",
    },
    Invariant {
        id: "identity.erased_as_wished",
        zh: "注销的人都申请过，并入其档案的一并注销，且申请与会员状态一致",
        en: "who was forgotten wished so, with what was merged into her, and who is there was not",
        sql: "SELECT m.id::text AS subject, m.state || ' and '
                || COALESCE(e.state, 'no wish') AS problem
              FROM member m LEFT JOIN member_merge g
                ON g.merged = m.id AND g.state = 'done' AND m.state = 'erased'
              LEFT JOIN erasure e ON e.member = COALESCE(g.survivor, m.id)
              WHERE (m.state = 'erased') <> (COALESCE(e.state, '') = 'erased')",
    },
    Invariant {
        id: "identity.erased_everywhere",
        zh: "各服务已忘记注销的人，未完成的仍在催办",
        en: "every service has forgotten who was forgotten here, or is still being asked",
        sql: "SELECT e.member::text AS subject, s.name || ' has not answered' AS problem
              FROM erasure e CROSS JOIN (VALUES ('passes'), ('billing'), ('admission')) s (name)
              WHERE e.state = 'erased' AND NOT EXISTS (SELECT 1 FROM erasure_applied a
                  WHERE a.member = e.member AND a.service = s.name)
                AND NOT EXISTS (SELECT 1 FROM due d
                  WHERE d.kind = 'erasure' AND d.subject = e.member::text)",
    },
    Invariant {
        id: "identity.rights_go_on",
        zh: "每项未完成的注销申请和未过期的副本都有定时任务",
        en: "each wish to be forgotten and each copy that is not over has a timer",
        sql: "SELECT id AS subject, 'no timer for its ' || kind AS problem FROM (
                SELECT member::text AS id, 'erasure' AS kind FROM erasure WHERE ended_at IS NULL
                UNION ALL
                SELECT id::text, 'export' FROM export WHERE state IN ('gathering', 'ready')
              ) w WHERE NOT EXISTS
                (SELECT 1 FROM due d WHERE d.kind = w.kind AND d.subject = w.id)",
    },
    Invariant {
        id: "identity.copies_name_one",
        zh: "合并可拆分期间没有开始汇集个人信息副本",
        en: "no copy of a person's data was begun while a merge into her record could be undone",
        sql: "SELECT e.id::text AS subject, 'names two records' AS problem
              FROM export e JOIN member_merge g ON g.survivor = e.member AND g.state = 'done'
              WHERE e.asked_at > g.done_at AND e.asked_at < g.done_at + interval '10 days'",
    },
    Invariant {
        id: "identity.copies_forgotten",
        zh: "过期的个人信息副本不再保存任何内容",
        en: "a copy that is over holds nothing",
        sql: "SELECT e.id::text AS subject, count(*)::text || ' parts' AS problem
              FROM export e JOIN export_part p ON p.export = e.id
              WHERE e.state = 'expired' GROUP BY e.id",
    },
    Invariant {
        id: "identity.renderings_forgotten",
        zh: "等待下载的文件都有用途和定时终结",
        en: "each file with names in it that waits to be fetched has a purpose and a timer",
        sql: "SELECT r.id::text AS subject, 'no timer ends it, or for nothing' AS problem
              FROM rendering r WHERE r.state = 'ready' AND (r.purpose IS NULL OR NOT EXISTS
                (SELECT 1 FROM due d WHERE d.kind = 'rendering' AND d.subject = r.id::text))",
    },
    Invariant {
        id: "identity.one_refresh_token",
        zh: "有效登录恰有一个未用的刷新令牌",
        en: "a login that counts has one unused refresh token",
        sql: "SELECT l.id::text AS subject, count(t.hash)::text || ' unused' AS problem
              FROM login l LEFT JOIN refresh_token t ON t.login = l.id AND t.used_at IS NULL
              WHERE l.withdrawn_at IS NULL
              GROUP BY l.id HAVING count(t.hash) <> 1",
    },
    Invariant {
        id: "identity.ten_recovery_codes",
        zh: "绑定了动态口令的人恰有十个备用码，其他人没有",
        en: "who has a second factor has ten recovery codes, used or not, and nobody else has any",
        sql: "SELECT COALESCE(f.member, c.member)::text AS subject,
                COALESCE(c.codes, 0)::text || ' codes' AS problem
              FROM (SELECT member FROM second_factor WHERE confirmed_at IS NOT NULL) f
              FULL JOIN (SELECT member, count(*) AS codes FROM recovery_code GROUP BY member) c
                ON c.member = f.member
              WHERE f.member IS NULL OR COALESCE(c.codes, 0) <> 10",
    },
    Invariant {
        id: "identity.stepped_up_with_a_factor",
        zh: "验证过动态口令的有效登录，其本人仍绑定着动态口令",
        en: "a login that counts and showed a second factor is of somebody who has one",
        sql: "SELECT l.id::text AS subject, 'shown, and there is none' AS problem FROM login l
              WHERE l.withdrawn_at IS NULL AND l.stepped_up_at IS NOT NULL AND NOT EXISTS
                (SELECT 1 FROM second_factor f
                 WHERE f.member = l.member AND f.confirmed_at IS NOT NULL)",
    },
    Invariant {
        id: "identity.second_factors_end",
        zh: "每个未确认的动态口令和每项未决的重置都有定时终结",
        en: "each second factor that is not confirmed, and each reset that waits, has a timer",
        sql: "SELECT id::text AS subject, 'no timer ends it' AS problem FROM (
                SELECT id, 'second_factor' AS kind FROM second_factor WHERE confirmed_at IS NULL
                UNION ALL
                SELECT id, 'second_factor_reset' FROM second_factor_reset WHERE state = 'asked'
              ) w WHERE NOT EXISTS
                (SELECT 1 FROM due d WHERE d.kind = w.kind AND d.subject = w.id::text)",
    },
    Invariant {
        id: "identity.verifications_end",
        zh: "每项未答复的实名核验都有待办",
        en: "each verification that waits for its answer is being asked",
        sql: "SELECT v.id::text AS subject, 'nobody is asked' AS problem FROM verification v
              WHERE v.state = 'asked' AND NOT EXISTS
                (SELECT 1 FROM due d WHERE d.kind = 'verification' AND d.subject = v.id::text)",
    },
    Invariant {
        id: "identity.recoveries_by_two",
        zh: "手机号找回由本人以外的两人办理，等待期满才执行",
        en: "two others carry each recovery of a phone, and none is done before its time",
        sql: "SELECT id::text AS subject, 'without two others, or before its time' AS problem
              FROM phone_recovery WHERE state IN ('approved', 'done') AND (
                confirmed_by IS NULL OR approved_by IS NULL OR confirmed_by = approved_by
                OR member IN (confirmed_by, approved_by) OR confirmed_at > approved_at
                OR due_at IS NULL OR due_at < approved_at + interval '72 hours'
                OR (state = 'done' AND ended_at < due_at))",
    },
    Invariant {
        id: "identity.recoveries_end",
        zh: "每项未结束的手机号找回都有定时任务",
        en: "each recovery of a phone that is open has a timer",
        sql: "SELECT r.id::text AS subject, 'no timer ends it' AS problem FROM phone_recovery r
              WHERE r.ended_at IS NULL AND NOT EXISTS
                (SELECT 1 FROM due d WHERE d.kind = 'phone_recovery' AND d.subject = r.id::text)
              UNION ALL
              SELECT n.id::text, 'nobody is asked whose it is' FROM network_claim n
              WHERE NOT EXISTS
                (SELECT 1 FROM due d WHERE d.kind = 'network_claim' AND d.subject = n.id::text)",
    },
    Invariant {
        id: "identity.phones_set_by_two",
        zh: "重新登记的手机号由本人以外的两名运维人员先后在一天内办理，未决的都有定时终结",
        en: "two operators who are neither she set each phone within a day, and what waits ends",
        sql: "SELECT id::text AS subject, 'by one, by herself, or for more than a day' AS problem
              FROM phone_setting
              WHERE (state = 'done' AND confirmed_by IS NULL) OR asked_by = confirmed_by
                OR member IN (asked_by, confirmed_by) OR expires_at > asked_at + interval '1 day'
              UNION ALL
              SELECT e.id::text, 'no timer ends it' FROM phone_setting e
              WHERE e.state = 'asked' AND NOT EXISTS
                (SELECT 1 FROM due d WHERE d.kind = 'phone_setting' AND d.subject = e.id::text)",
    },
    Invariant {
        id: "identity.keys_announced",
        zh: "公布过的密钥都在最新密钥集公布之前或之时公布",
        en: "no key counts as published in a key set that is not there",
        sql: "SELECT k.number::text AS subject, 'published in a missing set' AS problem
              FROM signing_key k
              WHERE k.published_in IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM key_set s WHERE s.version = k.published_in)",
    },
    Invariant {
        id: "identity.key_set_dense",
        zh: "密钥集版本号连续",
        en: "versions of the key set are dense",
        sql: "SELECT issuer::text AS subject,
                count(*)::text || ' sets up to version ' || max(version)::text AS problem
              FROM key_set GROUP BY issuer HAVING count(*) <> max(version)",
    },
    Invariant {
        id: "identity.rosters_forgotten",
        zh: "已结束的名单不再保存任何人员资料",
        en: "a roster that is over keeps nothing that its file said of people",
        sql: "SELECT r.id::text AS subject, count(*)::text || ' sealed rows' AS problem
              FROM roster r JOIN roster_row w ON w.roster = r.id
              WHERE r.state IN ('committed', 'failed', 'expired') AND w.sealed IS NOT NULL
              GROUP BY r.id",
    },
    Invariant {
        id: "identity.rosters_name_members",
        zh: "已提交名单的每一行都对应一名会员，每名会员只占一行",
        en: "every row of a committed roster names a member, and each of them one row",
        sql: "SELECT r.id::text AS subject, 'row ' || w.place || ' names nobody' AS problem
              FROM roster r JOIN roster_row w ON w.roster = r.id
              LEFT JOIN member m ON m.id = w.member
              WHERE r.state = 'committed' AND m.id IS NULL
              UNION ALL
              SELECT r.id::text, count(*)::text || ' rows name one member'
              FROM roster r JOIN roster_row w ON w.roster = r.id AND w.change <> 'leaving'
              WHERE r.state = 'committed' AND w.member IS NOT NULL
              GROUP BY r.id, w.member HAVING count(*) > 1",
    },
];
