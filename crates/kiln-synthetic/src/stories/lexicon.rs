//! What the stories are about: names, things, places, in English and Chinese.

use super::{Domain, fault};
use kiln_datasets::Result;
use serde::Deserialize;

const LEXICON: &str = include_str!("../../embedded/stories/lexicon.toml");

/// A word in both languages; `chinese` has spaces between words.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Word {
    pub english: String,
    pub chinese: String,
}

impl Word {
    fn new(english: &str, chinese: &str) -> Self {
        Self { english: english.into(), chinese: chinese.into() }
    }
}

/// A kind of thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Noun {
    pub word: Word,
    /// The Chinese measure word.
    pub measure: String,
    /// What one does with it: `flew`.
    pub usage: Word,
    /// No article but `some`.
    pub mass: bool,
}

/// A place.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Spot {
    pub english: String,
    pub preposition: String,
    pub chinese: String,
    /// What follows the Chinese noun when something is there: in, on, beside.
    pub locative: String,
    /// Sentences about it.
    pub scenes: Vec<String>,
}

impl Spot {
    /// A name, without an article.
    pub fn named(&self) -> bool {
        self.english.starts_with(char::is_uppercase)
    }
}

type Five = (String, String, String, String, String);
type Four = (String, String, String, String);
type Three = (String, String, String);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ShelfFile {
    own: Vec<Five>,
    keepsakes: Vec<Five>,
    tools: Vec<Three>,
    loads: Vec<Three>,
    parcels: Vec<Three>,
    foods: Vec<Four>,
    dishes: Vec<Three>,
    prizes: Vec<Three>,
    boats: Vec<Three>,
    treats: Vec<Four>,
    waters: Vec<String>,
    animals: Vec<Word>,
    trades: Vec<Word>,
    places: Vec<Spot>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    girls: String,
    boys: String,
    chinese_girls: String,
    chinese_boys: String,
    friends: Vec<Word>,
    colours: Vec<Word>,
    coats: Vec<Word>,
    qualities: Vec<Word>,
    numbers: Vec<Word>,
    animal_names: Vec<String>,
    chinese_animal_names: Vec<String>,
    boat_names: Vec<String>,
    chinese_boat_names: Vec<String>,
    common: ShelfFile,
    village: ShelfFile,
    harbour: ShelfFile,
    school: ShelfFile,
    market: ShelfFile,
}

/// The words of a domain.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    /// What one has, and can break.
    pub own: Vec<Noun>,
    /// What one has, and cannot repair.
    pub keepsakes: Vec<Noun>,
    pub tools: Vec<Noun>,
    pub loads: Vec<Noun>,
    /// What a child can carry to somebody.
    pub parcels: Vec<Noun>,
    pub foods: Vec<Noun>,
    pub dishes: Vec<Noun>,
    pub prizes: Vec<Noun>,
    pub boats: Vec<Noun>,
    /// What animals eat.
    pub treats: Vec<Noun>,
    /// The places with water to fish in.
    pub waters: Vec<String>,
    pub animals: Vec<Word>,
    pub trades: Vec<Word>,
    pub places: Vec<Spot>,
}

/// All words, by domain.
#[derive(Clone, Debug)]
pub(super) struct Lexicon {
    /// Girls' names, English and Chinese.
    pub girls: Names,
    pub boys: Names,
    pub animals: Names,
    pub boats: Names,
    pub friends: Vec<Word>,
    pub colours: Vec<Word>,
    /// What animals may be.
    pub coats: Vec<Word>,
    pub qualities: Vec<Word>,
    pub numbers: Vec<Word>,
    shelves: [Shelf; Domain::ALL.len()],
}

/// Names of both languages: they do not translate each other.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub english: Vec<String>,
    pub chinese: Vec<String>,
}

impl Lexicon {
    pub fn read() -> Result<Self> {
        let file: File = toml::from_str(LEXICON).map_err(|error| fault("lexicon.toml", error))?;
        let split = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let common = shelf(&file.common);
        let with_common = |own: &ShelfFile| {
            let mut shelf = shelf(own);
            shelf.own.extend(common.own.iter().cloned());
            shelf.parcels.extend(common.parcels.iter().cloned());
            shelf.foods.extend(common.foods.iter().cloned());
            shelf.dishes.extend(common.dishes.iter().cloned());
            shelf
        };
        let shelves = Domain::ALL.map(|domain| {
            with_common(match domain {
                Domain::Village => &file.village,
                Domain::Harbour => &file.harbour,
                Domain::School => &file.school,
                Domain::Market => &file.market,
            })
        });
        Ok(Self {
            girls: Names { english: split(&file.girls), chinese: split(&file.chinese_girls) },
            boys: Names { english: split(&file.boys), chinese: split(&file.chinese_boys) },
            animals: Names { english: file.animal_names, chinese: file.chinese_animal_names },
            boats: Names { english: file.boat_names, chinese: file.chinese_boat_names },
            friends: file.friends,
            colours: file.colours,
            coats: file.coats,
            qualities: file.qualities,
            numbers: file.numbers,
            shelves,
        })
    }

    pub fn shelf(&self, domain: Domain) -> &Shelf {
        let [village, harbour, school, market] = &self.shelves;
        match domain {
            Domain::Village => village,
            Domain::Harbour => harbour,
            Domain::School => school,
            Domain::Market => market,
        }
    }
}

fn shelf(file: &ShelfFile) -> Shelf {
    let own = |list: &[Five]| {
        let noun = |(noun, usage, chinese, measure, chinese_usage): &Five| Noun {
            word: Word::new(noun, chinese),
            measure: measure.clone(),
            usage: Word::new(usage, chinese_usage),
            mass: false,
        };
        list.iter().map(noun).collect()
    };
    let plain = |list: &[Three]| {
        let noun = |(noun, chinese, measure): &Three| Noun {
            word: Word::new(noun, chinese),
            measure: measure.clone(),
            ..Noun::default()
        };
        list.iter().map(noun).collect()
    };
    let food = |(article, noun, chinese, measure): &Four| Noun {
        word: Word::new(noun, chinese),
        measure: measure.clone(),
        mass: article == "some",
        ..Noun::default()
    };
    Shelf {
        own: own(&file.own),
        keepsakes: own(&file.keepsakes),
        tools: plain(&file.tools),
        loads: plain(&file.loads),
        parcels: plain(&file.parcels),
        foods: file.foods.iter().map(food).collect(),
        dishes: plain(&file.dishes),
        prizes: plain(&file.prizes),
        boats: plain(&file.boats),
        treats: file.treats.iter().map(food).collect(),
        waters: file.waters.clone(),
        animals: file.animals.clone(),
        trades: file.trades.clone(),
        places: file.places.clone(),
    }
}
