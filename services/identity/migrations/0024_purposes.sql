-- What an officer needs a file with names for. Files of before said so in their title: a list for
-- an outing, or else for a record of benefits; receipts are signed as something is handed out. None
-- has what the version before this one takes in meanwhile.
ALTER TABLE rendering
    ADD COLUMN purpose text CHECK (purpose IN ('handover', 'outing', 'benefits'));
UPDATE rendering SET purpose = CASE
    WHEN template = 'signed_receipts' THEN 'handover'
    WHEN title LIKE '%集体出行%' OR title LIKE '%outing%' THEN 'outing'
    ELSE 'benefits' END;
