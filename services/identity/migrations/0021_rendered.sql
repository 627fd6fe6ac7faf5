-- Lists with names and nothing to sign.
ALTER TABLE rendering
    DROP CONSTRAINT rendering_template_check,
    ADD CONSTRAINT rendering_template_check
        CHECK (template IN ('signed_receipts', 'name_list'));

-- Messages that other services asked for because they are worded with a name. What is kept is what
-- came with them; the name is looked up as one is sent, and stands in no row.
CREATE TABLE sms_message (
    -- Minted by the service that asks.
    id             uuid PRIMARY KEY,
    service        text NOT NULL,
    template       text NOT NULL CHECK (template IN ('pass_to_activate')),
    about          uuid NOT NULL,
    member         uuid NOT NULL REFERENCES member (id),
    purpose        text NOT NULL CHECK (purpose IN ('contract', 'notice')),
    -- What the template takes, in its order.
    content        jsonb NOT NULL,
    asked_at       timestamptz NOT NULL,
    valid_until    timestamptz NOT NULL,
    state          text NOT NULL CHECK (state IN ('planned', 'handed_over', 'skipped')),
    -- When the provider was last given it.
    handed_over_at timestamptz,
    -- Why it was not sent.
    why            text CHECK (why IN ('no_consent', 'no_phone', 'too_late')),
    CONSTRAINT sms_message_handed_over
        CHECK ((state = 'handed_over') = (handed_over_at IS NOT NULL)),
    CONSTRAINT sms_message_skipped CHECK ((state = 'skipped') = (why IS NOT NULL))
);
CREATE INDEX sms_message_member ON sms_message (member, asked_at);
CREATE INDEX sms_message_valid_until ON sms_message (valid_until);

-- The language that a device was signed in with: messages come in the one that was used last.
ALTER TABLE login
    ADD COLUMN language text NOT NULL DEFAULT 'zh' CHECK (language IN ('zh', 'en'));
