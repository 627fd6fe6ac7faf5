-- Whether the role was given on the command line, by who has the machine: who holds it needs no
-- time as an operator before a word of his counts to take a person's second factor away.
ALTER TABLE role ADD COLUMN founding boolean NOT NULL DEFAULT false;
UPDATE role SET founding = true WHERE role = 'operator' AND member::text IN
    (SELECT subject FROM audit WHERE act = 'create_first_operator');
