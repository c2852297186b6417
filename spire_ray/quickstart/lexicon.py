"""The words of the talking corpus, in English, German and French."""

from typing import NamedTuple


class Noun(NamedTuple):
    """A noun; `kind` is what it can be in a sentence: a being acts, a thing is acted on."""

    kind: str
    en: str
    de: str
    de_gender: str
    fr: str
    fr_gender: str
    de_weak: str = ""

    @property
    def de_accusative(self) -> str:
        """The accusative, which differs for weak nouns: `der Junge`, `den Jungen`."""
        return self.de_weak or self.de


class Adjective(NamedTuple):
    """An adjective; `de` is the stem that takes endings, `fr_before` says on which side of the noun it stands."""

    en: str
    de: str
    fr_masculine: str
    fr_feminine: str
    fr_before: bool = False
    de_alone: str = ""

    @property
    def de_predicative(self) -> str:
        """The form after `ist`: `teuer`, whose stem is `teur`."""
        return self.de_alone or self.de


class Determiner(NamedTuple):
    """An article or possessive: German endings by gender, with the masculine accusative, and those of an adjective after it."""

    en: str
    de: dict[str, str]
    de_adjective: dict[str, str]
    fr_masculine: str
    fr_feminine: str
    weight: float


class Phrase(NamedTuple):
    """A verb in the third person, a place or a time: the same form in every sentence."""

    en: str
    de: str
    fr: str


_WEAK = {"m": "e", "f": "e", "n": "e", "accusative": "en"}
_MIXED = {"m": "er", "f": "e", "n": "es", "accusative": "en"}

DETERMINERS = (
    Determiner("the", {"m": "der", "f": "die", "n": "das", "accusative": "den"}, _WEAK, "le", "la", 0.55),
    Determiner("my", {"m": "mein", "f": "meine", "n": "mein", "accusative": "meinen"}, _MIXED, "mon", "ma", 0.3),
    Determiner("a", {"m": "ein", "f": "eine", "n": "ein", "accusative": "einen"}, _MIXED, "un", "une", 0.15),
)

NOUNS = (
    Noun("being", "man", "Mann", "m", "homme", "m"),
    Noun("being", "woman", "Frau", "f", "femme", "f"),
    Noun("being", "child", "Kind", "n", "enfant", "m"),
    Noun("being", "girl", "Mädchen", "n", "fille", "f"),
    Noun("being", "boy", "Junge", "m", "garçon", "m", "Jungen"),
    Noun("being", "teacher", "Lehrer", "m", "professeur", "m"),
    Noun("being", "doctor", "Arzt", "m", "médecin", "m"),
    Noun("being", "farmer", "Bauer", "m", "fermier", "m", "Bauern"),
    Noun("being", "king", "König", "m", "roi", "m"),
    Noun("being", "queen", "Königin", "f", "reine", "f"),
    Noun("being", "grandmother", "Großmutter", "f", "grand-mère", "f"),
    Noun("being", "brother", "Bruder", "m", "frère", "m"),
    Noun("being", "sister", "Schwester", "f", "soeur", "f"),
    Noun("being", "soldier", "Soldat", "m", "soldat", "m", "Soldaten"),
    Noun("being", "neighbour", "Nachbar", "m", "voisin", "m", "Nachbarn"),
    Noun("being", "dog", "Hund", "m", "chien", "m"),
    Noun("being", "cat", "Katze", "f", "chat", "m"),
    Noun("being", "horse", "Pferd", "n", "cheval", "m"),
    Noun("being", "bird", "Vogel", "m", "oiseau", "m"),
    Noun("being", "elephant", "Elefant", "m", "éléphant", "m", "Elefanten"),
    Noun("thing", "apple", "Apfel", "m", "pomme", "f"),
    Noun("thing", "book", "Buch", "n", "livre", "m"),
    Noun("thing", "letter", "Brief", "m", "lettre", "f"),
    Noun("thing", "flower", "Blume", "f", "fleur", "f"),
    Noun("thing", "table", "Tisch", "m", "table", "f"),
    Noun("thing", "chair", "Stuhl", "m", "chaise", "f"),
    Noun("thing", "window", "Fenster", "n", "fenêtre", "f"),
    Noun("thing", "house", "Haus", "n", "maison", "f"),
    Noun("thing", "knife", "Messer", "n", "couteau", "m"),
    Noun("thing", "bottle", "Flasche", "f", "bouteille", "f"),
    Noun("thing", "newspaper", "Zeitung", "f", "journal", "m"),
    Noun("thing", "bicycle", "Fahrrad", "n", "vélo", "m"),
    Noun("thing", "picture", "Bild", "n", "tableau", "m"),
    Noun("thing", "guitar", "Gitarre", "f", "guitare", "f"),
    Noun("thing", "lamp", "Lampe", "f", "lampe", "f"),
    Noun("thing", "mirror", "Spiegel", "m", "miroir", "m"),
    Noun("thing", "shirt", "Hemd", "n", "chemise", "f"),
    Noun("thing", "umbrella", "Regenschirm", "m", "parapluie", "m"),
    Noun("thing", "basket", "Korb", "m", "panier", "m"),
    Noun("thing", "carpet", "Teppich", "m", "tapis", "m"),
    Noun("thing", "spoon", "Löffel", "m", "cuillère", "f"),
    Noun("thing", "hammer", "Hammer", "m", "marteau", "m"),
)

ADJECTIVES = (
    Adjective("red", "rot", "rouge", "rouge"),
    Adjective("green", "grün", "vert", "verte"),
    Adjective("yellow", "gelb", "jaune", "jaune"),
    Adjective("black", "schwarz", "noir", "noire"),
    Adjective("small", "klein", "petit", "petite", True),
    Adjective("big", "groß", "grand", "grande", True),
    Adjective("young", "jung", "jeune", "jeune", True),
    Adjective("heavy", "schwer", "lourd", "lourde"),
    Adjective("quiet", "leis", "silencieux", "silencieuse", False, "leise"),
    Adjective("strange", "seltsam", "bizarre", "bizarre"),
    Adjective("expensive", "teur", "cher", "chère", False, "teuer"),
    Adjective("wonderful", "wunderbar", "merveilleux", "merveilleuse"),
    Adjective("dirty", "schmutzig", "sale", "sale"),
    Adjective("famous", "berühmt", "célèbre", "célèbre"),
)

TRANSITIVE = (
    Phrase("buys", "kauft", "achète"),
    Phrase("sees", "sieht", "voit"),
    Phrase("finds", "findet", "trouve"),
    Phrase("carries", "trägt", "porte"),
    Phrase("loves", "liebt", "aime"),
    Phrase("breaks", "zerbricht", "casse"),
    Phrase("forgets", "vergisst", "oublie"),
    Phrase("washes", "wäscht", "lave"),
    Phrase("paints", "malt", "peint"),
    Phrase("steals", "stiehlt", "vole"),
    Phrase("hides", "versteckt", "cache"),
    Phrase("wants", "will", "veut"),
    Phrase("describes", "beschreibt", "décrit"),
    Phrase("repairs", "repariert", "répare"),
)

INTRANSITIVE = (
    Phrase("sleeps", "schläft", "dort"),
    Phrase("works", "arbeitet", "travaille"),
    Phrase("dances", "tanzt", "danse"),
    Phrase("waits", "wartet", "attend"),
    Phrase("sings", "singt", "chante"),
    Phrase("laughs", "lacht", "rit"),
)

PLACES = (
    Phrase("in the garden", "im Garten", "dans le jardin"),
    Phrase("in the kitchen", "in der Küche", "dans la cuisine"),
    Phrase("at the station", "am Bahnhof", "à la gare"),
    Phrase("near the river", "nahe dem Fluss", "près de la rivière"),
    Phrase("behind the church", "hinter der Kirche", "derrière l'église"),
    Phrase("under the bridge", "unter der Brücke", "sous le pont"),
    Phrase("on the mountain", "auf dem Berg", "sur la montagne"),
    Phrase("in the hospital", "im Krankenhaus", "à l'hôpital"),
)

TIMES = (
    Phrase("today", "heute", "aujourd'hui"),
    Phrase("now", "jetzt", "maintenant"),
    Phrase("sometimes", "manchmal", "parfois"),
    Phrase("every morning", "jeden Morgen", "chaque matin"),
    Phrase("on sunday", "am Sonntag", "le dimanche"),
    Phrase("last year", "letztes Jahr", "l'année dernière"),
    Phrase("after dinner", "nach dem Abendessen", "après le dîner"),
)
