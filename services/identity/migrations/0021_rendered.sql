-- Lists with names and nothing to sign.
ALTER TABLE rendering
    DROP CONSTRAINT rendering_template_check,
    ADD CONSTRAINT rendering_template_check
        CHECK (template IN ('signed_receipts', 'name_list'));
