-- Who was merged into a member is looked up with whatever she does: not by a walk over all members.
CREATE INDEX replica_member_merged_into ON replica_member (merged_into)
    WHERE merged_into IS NOT NULL;
