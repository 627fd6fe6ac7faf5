//! What is done with personal data beyond what a contract or a law asks for, and so only with the
//! person's consent.

/// A purpose together with who receives the data: each has a consent of its own (个人信息保护法
/// Art. 14 and 23), and none is bundled with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Processing {
    /// Notices by SMS: the phone number goes to the provider of SMS.
    NoticeSms,
    /// Staff of a venue see when and where a pass was used at other companies' venues. Where
    /// somebody was is sensitive (Art. 28, 29).
    VisitsToVenues,
}

impl Processing {
    pub const ALL: [Self; 2] = [Self::NoticeSms, Self::VisitsToVenues];

    /// What for, as it is stored.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::NoticeSms => "notice_sms",
            Self::VisitsToVenues => "visits",
        }
    }

    /// Who receives the data, as it is stored.
    pub const fn recipient(self) -> &'static str {
        match self {
            Self::NoticeSms => "sms_provider",
            Self::VisitsToVenues => "venues",
        }
    }

    /// The processing of this purpose for this recipient.
    pub fn find(purpose: &str, recipient: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|it| (it.purpose(), it.recipient()) == (purpose, recipient))
    }

    /// Whether it is done by those who know an entitlement and not whose it is: they are told of
    /// the consent by entitlement.
    pub const fn is_of_entitlements(self) -> bool {
        match self {
            Self::NoticeSms => false,
            Self::VisitsToVenues => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No two consents are one: each is found by its own purpose and recipient.
    #[test]
    fn each_is_found_by_its_own_words() {
        for one in Processing::ALL {
            assert_eq!(Processing::find(one.purpose(), one.recipient()), Some(one));
        }
        assert_eq!(Processing::find("notice_sms", "venues"), None);
    }
}
