use proptest::prelude::*;

use super::*;

/// Made by Python 3.11 and numpy 2.4, at each protocol 2, 3 and 4:
/// `a = numpy.arange(6, dtype='u1').reshape(2, 3)`,
/// `pickle.dumps({b'labels': [6, 300, -1], b'data': a, b'n': [b'a', 'é']}, protocol)`
const PYTHON_3: [&str; 3] = [
    "80027d710028635f636f646563730a656e636f64650a710158060000006c6162656c73710258060000006c6174696e31\
     71038671045271055d7106284b064d2c014affffffff65680158040000006461746171076803867108527109636e756d\
     70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a710a636e756d70790a6e6461727261\
     790a710b4b0085710c6801580100000062710d680386710e52710f877110527111284b014b024b03867112636e756d70\
     790a64747970650a71135802000000753171148988877115527116284b0358010000007c71174e4e4e4affffffff4aff\
     ffffff4b007471186289680158060000000001020304057119680386711a52711b74711c62680158010000006e711d68\
     0386711e52711f5d7120286801580100000061712168038671225271235802000000c3a9712465752e",
    "80037d71002843066c6162656c7371015d7102284b064d2c014affffffff654304646174617103636e756d70792e5f63\
     6f72652e6d756c746961727261790a5f7265636f6e7374727563740a7104636e756d70790a6e6461727261790a71054b\
     008571064301627107877108527109284b014b024b0386710a636e756d70790a64747970650a710b5802000000753171\
     0c898887710d52710e284b0358010000007c710f4e4e4e4affffffff4affffffff4b0074711062894306000102030405\
     71117471126243016e71135d71142843016171155802000000c3a9711665752e",
    "800495c4000000000000007d942843066c6162656c73945d94284b064d2c014affffffff65430464617461948c166e75\
     6d70792e5f636f72652e6d756c74696172726179948c0c5f7265636f6e7374727563749493948c056e756d7079948c07\
     6e6461727261799493944b0085944301629487945294284b014b024b03869468078c0564747970659493948c02753194\
     898887945294284b038c017c944e4e4e4affffffff4affffffff4b007494628943060001020304059474946243016e94\
     5d9428430161948c02c3a99465752e",
];

/// Made by Python 2.7's cPickle and numpy 1.16, at protocol 2, of the same dictionary.
const PYTHON_2: &str = "\
    80027d71012855066c6162656c7371025d7103284b064d2c014affffffff655504646174617104636e756d70792e636f7265\
    2e6d756c746961727261790a5f7265636f6e7374727563740a7105636e756d70790a6e6461727261790a71064b0085550162\
    87527107284b014b024b0386636e756d70790a64747970650a7108550275314b004b0187527109284b0355017c4e4e4e4aff\
    ffffff4affffffff4b007462895506000102030405746255016e5d710a285501615502c3a9710b65752e";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn error(source: &[u8]) -> String {
    Pickle::read(source).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn pickles_of_both_pythons_read_alike() {
    for text in PYTHON_3.iter().chain([&PYTHON_2]) {
        let bytes = hex(text);
        let pickle = Pickle::read(&bytes).unwrap();
        assert_eq!(pickle.integers("labels").unwrap(), [6, 300, -1]);
        assert_eq!(pickle.array("data").unwrap(), (3, Cow::Borrowed(&[0u8, 1, 2, 3, 4, 5][..])));
        assert_eq!(pickle.strings("n").unwrap(), ["a", "é"]);
    }
}

#[test]
fn a_column_major_array_is_turned() {
    assert_eq!(transpose(&[0, 3, 1, 4, 2, 5], 2), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn what_is_missing_or_of_another_type_is_named() {
    let bytes = hex(PYTHON_2);
    let pickle = Pickle::read(&bytes).unwrap();
    let message = |error: Error| error.to_string();
    assert_eq!(message(pickle.integers("fine_labels").unwrap_err()), "the pickle has no 'fine_labels'");
    assert_eq!(message(pickle.integers("n").unwrap_err()), "'n' in the pickle is no list of integers");
    assert_eq!(message(pickle.strings("data").unwrap_err()), "'data' in the pickle is no list of strings");
    assert_eq!(
        message(pickle.array("n").unwrap_err()),
        "'data' in the pickle".replace("data", "n") + " is no numpy array of bytes"
    );
}

#[test]
fn functions_are_refused_by_name_and_never_called() {
    // pickle.dumps of an object whose __reduce__ returns (os.system, ('touch /tmp/x',)).
    let message = error(b"\x80\x02cposix\nsystem\nU\x0ctouch /tmp/xU\x01x\x86R.");
    assert!(message.contains("it names posix.system, which no CIFAR file does"), "{message}");
    let message = error(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.");
    assert!(message.contains("builtins.eval"), "{message}");
    // Known functions, called as nobody does.
    assert!(error(b"\x80\x02cnumpy\nndarray\n)R.").contains("calls a function"));
    assert!(error(b"\x80\x02cnumpy\ndtype\nU\x02O8\x85R.").contains("type 'O8'"));
}

#[test]
fn damage_is_told_with_its_place() {
    assert!(error(b"").contains("no pickle of protocol"));
    assert!(error(b"(dp1\n.").contains("no pickle of protocol"));
    assert!(error(b"\x80\x05}.").contains("protocol 5 is not read"));
    assert_eq!(error(b"\x80\x02}"), "pickle, byte 3: the file ends too early");
    assert!(error(b"\x80\x02].").contains("no dictionary"));
    assert!(error(b"\x80\x02.").contains("empty stack"));
    assert!(error(b"\x80\x02}(0.").contains("empty stack"), "nothing is taken from below a mark");
    assert!(error(b"\x80\x02}Q.").contains("opcode 0x51"));
    assert!(error(b"\x80\x02h\x07.").contains("memo 7 is empty"));
    assert!(error(b"\x80\x02cposix").contains("a name does not end"));
    assert!(error(b"\x80\x02\x8a\xff").contains("number of 255 bytes"));
}

#[test]
fn hostile_pickles_stay_small() {
    // A text that claims to be longer than any file.
    assert!(error(b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f").contains("ends too early"));
    // A list that holds itself, as a value and as a key.
    assert!(Pickle::read(b"\x80\x02}]q\x00h\x00ah\x00s.").is_ok());
    // A million opcodes too many.
    let mut long = b"\x80\x02".to_vec();
    long.resize(MAX_OPCODES + 10, b'N');
    assert!(error(&long).contains("opcodes"));
    // One long text, encoded again and again.
    let mut bomb = b"\x80\x02c_codecs\nencode\nq\x00X\x00\x10\x00\x00".to_vec();
    bomb.resize(bomb.len() + 4096, b'a');
    bomb.extend_from_slice(b"q\x01U\x06latin1q\x02");
    for _ in 0..10 {
        bomb.extend_from_slice(b"h\x00h\x01h\x02\x86R");
    }
    bomb.push(b'.');
    assert!(error(&bomb).contains("cannot be encoded"));
    // An array whose shape overflows.
    let shape = b"\x80\x02cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R\
        (K\x01J\xff\xff\xff\x7f\
        \x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x86cnumpy\ndtype\nU\x02u1\x85R\x89U\x01atb.";
    assert!(error(shape).contains("does not fit its 1 bytes"));
}

proptest! {
    #[test]
    fn a_damaged_pickle_is_read_or_refused(
        which in 0usize..4, at in any::<prop::sample::Index>(), kind in 0..4, byte in any::<u8>()
    ) {
        let mut bytes = hex(PYTHON_3.get(which).unwrap_or(&PYTHON_2));
        let at = at.index(bytes.len());
        match kind {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => drop(bytes.remove(at)),
            _ => bytes.truncate(at),
        }
        if let Ok(pickle) = Pickle::read(&bytes) {
            for key in ["labels", "data", "n"] {
                let _ = (pickle.integers(key), pickle.array(key), pickle.strings(key));
            }
        }
    }
}
