//! What the provider's four digits say of a message.
//!
//! The codes and their first digits are those of SOLAPI's reference ("메시지 상태 코드",
//! `api-reference/message-status-codes.md` in the public repository `solapi/documents`, as of its commit 12c4310): 1xxx is an
//! error on acceptance, 2000 accepted, any other 2xxx an error inside the platform, 3000 handed to the carrier, any other 3xxx
//! an error there, 4000 received. Left out are the codes of other media (templates and buttons of KakaoTalk, images).
//!
//! Which of them another attempt may mend is our judgement: faults of servers, queues and time, and phones that are off, full
//! or out of reach. A code that says nothing certain, or none that is known here, is for a person to decide: sent again by
//! itself, a text that did arrive would arrive twice.

/// What becomes of the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    TryAgain,
    Refused,
}

use Verdict::{Accepted, Refused, TryAgain};

const TABLE: [(&str, Verdict, &str); 61] = [
    ("1010", Refused, "a required value is missing"),
    ("1011", Refused, "a value has a wrong form"),
    ("1013", Refused, "an SMS takes no subject"),
    ("1014", Refused, "the subject is longer than 40 bytes"),
    ("1020", Refused, "the account is unknown or its password is wrong"),
    ("1021", Refused, "there is no such message"),
    ("1022", Refused, "there is no such group"),
    ("1024", TryAgain, "a server of the provider failed"),
    ("1025", Refused, "the type of message is unknown"),
    ("1026", Refused, "the recipient is named twice"),
    ("1027", Refused, "the request is not UTF-8"),
    ("1028", Refused, "the text holds control characters"),
    ("1029", Refused, "the text holds characters that EUC-KR lacks"),
    ("1030", Refused, "the balance does not suffice"),
    ("1031", Refused, "the text is too long for its type"),
    ("1032", Refused, "a custom field is not valid"),
    ("1058", Refused, "there is no route to the recipient"),
    ("1060", Refused, "the recipient is blocked"),
    ("1061", Refused, "the recipient opted out by the free 080 number"),
    ("1062", Refused, "the sender's number is not registered"),
    ("1064", Refused, "the sender is blocked after a report to KISA"),
    ("2000", Accepted, "accepted"),
    ("2011", Refused, "a value has a wrong form"),
    ("2024", TryAgain, "a server of the provider failed"),
    ("2060", Refused, "the recipient is blocked"),
    ("2061", Refused, "the recipient opted out by the free 080 number"),
    ("2062", Refused, "the sender's number is not registered"),
    ("2063", Refused, "the account is blocked"),
    ("2064", Refused, "the sender is blocked after a report to KISA"),
    ("2230", Refused, "the balance does not suffice"),
    ("2254", Refused, "the provider took it for spam"),
    ("3000", Accepted, "handed to the carrier"),
    ("3010", Refused, "the recipient's number has a wrong form"),
    ("3011", Refused, "a value has a wrong form"),
    ("3012", TryAgain, "a server of the carrier failed"),
    ("3013", Refused, "the sender's number breaks the numbering rules"),
    ("3014", Refused, "what became of the message is not known"),
    ("3024", TryAgain, "a server of the carrier failed"),
    ("3031", Refused, "it can't be delivered"),
    ("3032", Refused, "the recipient's number is not in use"),
    ("3040", TryAgain, "the time for delivery was over"),
    ("3041", TryAgain, "the phone is busy"),
    ("3042", TryAgain, "the phone is out of coverage"),
    ("3043", TryAgain, "the phone is off"),
    ("3044", TryAgain, "the phone's memory is full"),
    ("3045", TryAgain, "the phone's service is suspended for a time"),
    ("3046", TryAgain, "another problem of the phone"),
    ("3047", Refused, "the phone refuses it"),
    ("3048", Refused, "the carrier gave an unknown code"),
    ("3050", Refused, "the phone takes no SMS"),
    ("3051", TryAgain, "the phone can't be called at present"),
    ("3052", Refused, "the carrier's operator deleted it"),
    ("3053", TryAgain, "the carrier's queue is full"),
    ("3054", Refused, "the carrier took it for spam"),
    ("3055", Refused, "the recipient is registered against spam (nospam.or.kr)"),
    ("3056", TryAgain, "the radio network failed"),
    ("3057", TryAgain, "the radio link to the phone failed"),
    ("3058", Refused, "there is no route to the recipient"),
    ("3059", Refused, "the sender's number is forged"),
    ("3060", Refused, "the recipient's age is not verified"),
    ("4000", Accepted, "received"),
];

/// What a code says, and in which words.
pub(crate) fn judge(code: &str) -> (Verdict, &'static str) {
    match TABLE.binary_search_by_key(&code, |(code, _, _)| code) {
        Ok(at) => TABLE.get(at).map_or((Refused, UNKNOWN), |(_, verdict, words)| (*verdict, *words)),
        Err(_) => (Refused, UNKNOWN),
    }
}

const UNKNOWN: &str = "a code that is not known here";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_in_order_once_each_and_only_three_are_good_news() {
        assert!(TABLE.is_sorted_by(|(one, ..), (next, ..)| one < next));
        let accepted: Vec<_> =
            TABLE.iter().filter(|(_, verdict, _)| *verdict == Accepted).map(|(code, ..)| *code).collect();
        assert_eq!(accepted, ["2000", "3000", "4000"]);
    }

    #[test]
    fn server_faults_and_phones_out_of_reach_are_tried_again_and_what_is_unknown_is_not() {
        for code in ["1024", "2024", "3012", "3024", "3040", "3043", "3053"] {
            assert_eq!(judge(code).0, TryAgain, "{code}");
        }
        for code in ["1030", "1062", "2254", "3014", "3048", "3104", "2999", "", "20000"] {
            assert_eq!(judge(code).0, Refused, "{code}");
        }
    }
}
