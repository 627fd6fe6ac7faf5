-- Paying inside WeChat: the provider answers with a prepay_id instead of an address for a code.
-- Whose WeChat it is, the provider must be told and nobody here keeps: there is no column for it.
ALTER TABLE payment
    ADD COLUMN prepay_id text,
    DROP CONSTRAINT payment_method,
    ADD CONSTRAINT payment_method CHECK (method IN ('wechat_native', 'wechat_jsapi')),
    DROP CONSTRAINT payment_code,
    ADD CONSTRAINT payment_code CHECK (state <> 'waiting' OR (prepared_at IS NOT NULL
        AND (method = 'wechat_native') = (code_url IS NOT NULL)
        AND (method = 'wechat_jsapi') = (prepay_id IS NOT NULL)));

-- What a payer was named by, used once: for this payment and no other. Neither the token nor what
-- it said is here; the row goes when the token's time has long been over.
CREATE TABLE payer_token (
    id         uuid PRIMARY KEY,
    payment    uuid NOT NULL REFERENCES payment (id),
    expires_at timestamptz NOT NULL
);
CREATE INDEX payer_token_expires_at ON payer_token (expires_at);
