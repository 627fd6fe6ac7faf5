-- What people are asked to agree to, in every version it had: one text for each purpose and
-- recipient. A text is published by a migration like this one, so that nobody changes alone what
-- everybody agrees to; from `effective_from` on a consent to an older version is none. `{union}`
-- stands for the name of the union whose stack this is.
CREATE TABLE consent_text (
    purpose        text NOT NULL,
    recipient      text NOT NULL,
    version        integer NOT NULL CHECK (version > 0),
    zh             text NOT NULL CHECK (zh <> ''),
    en             text NOT NULL CHECK (en <> ''),
    effective_from timestamptz NOT NULL,
    -- When the other services were told; null: not yet.
    announced_at   timestamptz,
    PRIMARY KEY (purpose, recipient, version)
);

-- What a person said last.
CREATE TABLE consent (
    id           uuid PRIMARY KEY,
    version      bigint NOT NULL CHECK (version > 0),
    member       uuid NOT NULL REFERENCES member (id),
    purpose      text NOT NULL,
    recipient    text NOT NULL,
    text_version integer NOT NULL,
    given        boolean NOT NULL,
    FOREIGN KEY (purpose, recipient, text_version) REFERENCES consent_text
);
CREATE UNIQUE INDEX consent_once ON consent (member, purpose, recipient);

-- All that she said before, and with it the proof: which text, by its SHA-256, and by which login.
CREATE TABLE consent_act (
    id           uuid PRIMARY KEY,
    consent      uuid NOT NULL REFERENCES consent (id),
    -- The version of the consent that it made.
    version      bigint NOT NULL CHECK (version > 0),
    text_version integer NOT NULL,
    text_digest  bytea NOT NULL CHECK (octet_length(text_digest) = 32),
    given        boolean NOT NULL,
    login        uuid NOT NULL,
    created_at   timestamptz NOT NULL
);
CREATE UNIQUE INDEX consent_act_version ON consent_act (consent, version);
CREATE FUNCTION consent_act_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what was said of a consent is kept as it was said';
END $$;
CREATE TRIGGER consent_act_is_kept BEFORE UPDATE OR DELETE ON consent_act
    FOR EACH ROW EXECUTE FUNCTION consent_act_is_kept();

CREATE VIEW replica_consent AS
    SELECT id, 1::bigint AS epoch, version, member, purpose, recipient, text_version, given
    FROM consent;
CREATE VIEW replica_entitlement_consent AS
    SELECT e.id AS entitlement, c.purpose, c.recipient, 1::bigint AS epoch, c.version,
           c.text_version, c.given
    FROM entitlement e JOIN consent c ON c.member = e.member
    WHERE e.state <> 'unknown' AND c.purpose = 'visits';
-- As in the others, a text that nobody was told of asks for nothing yet.
CREATE VIEW replica_consent_text AS
    SELECT purpose, recipient, version, effective_from FROM consent_text
    WHERE announced_at IS NOT NULL;

-- 个人信息保护法 Art. 17 and 23: who handles it and how to reach them, who receives it, what for, how,
-- which kinds of data, for how long; Art. 15: withdrawn as easily as given; Art. 16: nothing is
-- refused to who does not agree; Art. 30 where it is sensitive: why, and what it means for her.
INSERT INTO consent_text (purpose, recipient, version, zh, en, effective_from) VALUES
('notice_sms', 'sms_provider', 1,
'处理者：{union}（职工服务热线 12351）。用途：您的年票被取消或退款到账时，用短信告诉您。接收方：受我们委托发送短信的服务商。'
'处理方式：把您登录用的手机号、年票名称或订单号与金额交给服务商发出，不含姓名和证件号码，服务商不得另作他用。保存期限：短信任务最长保留 180 天。'
'您可以不同意，登录验证码和站内通知不受影响；同意后可以随时在同一处撤回，撤回后一分钟内停止发送，撤回前已发送的不受影响。',
'Handler: {union} (hotline 12351). Purpose: to tell you by SMS when a pass of yours is cancelled or a refund has been paid. '
'Recipient: the provider who sends SMS on our behalf. How: the phone number you sign in with, and the name of the pass or the '
'number and amount of the order, are given to the provider to be sent, without your name or document number, and for nothing else. '
'Kept: at most 180 days. You need not agree: login codes and the notices here stay as they are. You may withdraw at any time in '
'the same place; sending stops within a minute, and what was sent before stays lawful.',
'2026-01-01T00:00:00+08:00'),
('visits', 'venues', 1,
'处理者：{union}（职工服务热线 12351）。用途：您在场馆窗口求助时，窗口人员能看到您的年票在其他单位场馆的使用记录，以便说明为何不能入园。'
'接收方：您求助的合作场馆的经营单位。处理方式：只在窗口人员按年票号或订单号查询时显示，每次查询都有记录。'
'个人信息种类：使用年票的时间和场馆，属于行踪信息，是敏感个人信息；不含姓名、手机号和证件号码。保存期限：场馆不留存。'
'对您的影响：该单位会知道您去过哪里。您可以不同意，购票、入园和窗口的其他服务不受影响，窗口只能看到您在本单位场馆的记录；'
'同意后可以随时在同一处撤回，撤回后一分钟内不再显示，撤回前的查询不受影响。',
'Handler: {union} (hotline 12351). Purpose: when you ask for help at a venue, its staff can see where your pass was used at venues of '
'other companies, to explain why a gate does not open. Recipient: the company that runs the venue where you ask. How: shown only while '
'staff look up the number of your pass or order, and each look-up is recorded. Data: when and at which venue your pass was used. Where '
'you were is sensitive personal data; your name, phone and document number are not shown. Kept: not at all by the venue. What it means '
'for you: that company learns where you have been. You need not agree: buying, entering and all other help stay as they are, and staff '
'see only what happened at their own company''s venues. You may withdraw at any time in the same place; within a minute nothing is '
'shown any more, and what was shown before stays lawful.',
'2026-01-01T00:00:00+08:00');
