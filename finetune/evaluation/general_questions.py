"""What anybody knows, a question a line: most of it is within reach of a model of 135M parameters, some of it is not."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    text: str
    accepted: tuple[str, ...]  # words or phrases: one of them must be said
    rejected: tuple[str, ...] = ()  # none of these may be said


_YES, _NO = ("yes",), ("no",)

_PLACES = (
    Question("What is the capital of France?", ("Paris",), ("London", "Berlin", "Rome", "Madrid", "Lyon")),
    Question("Tokyo is the largest city of which country?", ("Japan",), ("China", "Korea", "India")),
    Question("On which continent is Egypt?", ("Africa",), ("Europe", "America", "Australia")),
    Question("Which ocean is the largest one on Earth?", ("Pacific",), ("Atlantic", "Indian", "Arctic")),
    Question("Name the highest mountain in the world.", ("Everest",), ("K2", "Kilimanjaro", "Mont Blanc")),
    Question("What language do most people in Brazil speak?", ("Portuguese",), ("English", "French", "German")),
    Question("Which river flows through London?", ("Thames",), ("Seine", "Danube", "Nile", "Rhine")),
    Question(
        "What money do people pay with in Japan?", ("yen",), ("won", "yuan", "dollar", "dollars", "euro", "euros")
    ),
    Question("Which direction is the opposite of north?", ("south",), ("east", "west")),
    Question(
        "Which large country lies directly north of the United States?", ("Canada",), ("north of Canada", "Mexico")
    ),
    Question("Which country is famous for the pyramids of Giza?", ("Egypt",), ("Mexico", "Iraq", "Sudan", "Greece")),
    Question("Is the capital of Australia Sydney, Melbourne or another city?", ("Canberra",), ("Perth", "Brisbane")),
)

_SCIENCE = (
    Question("Which gas must people breathe in to stay alive?", ("oxygen", "O2"), ("helium", "hydrogen", "methane")),
    Question("What is the chemical formula of water?", ("H2O",), ("CO2", "O2", "NaCl", "H2O2")),
    Question("At how many degrees Celsius does water freeze?", ("0", "zero"), ("100", "10", "-10", "4", "20", "37")),
    Question("What is the name of our own planet?", ("Earth",), ("Mars", "Venus", "Jupiter", "Saturn")),
    Question("What do you call water that has frozen solid?", ("ice",), ("steam", "rain", "vapor")),
    Question("Which planet is called the Red Planet?", ("Mars",), ("Venus", "Jupiter", "Saturn", "Mercury")),
    Question("What force makes a dropped ball fall to the ground?", ("gravity", "gravitational"), ("magnetism",)),
    Question("Which organ pumps blood through the body?", ("heart",), ("liver", "brain", "kidney", "stomach")),
    Question("What does a thermometer measure?", ("temperature", "temperatures"), ("pressure", "weight", "length")),
    Question(
        "By what process do green plants make food from sunlight?", ("photosynthesis",), ("digestion", "fermentation")
    ),
    Question("How many planets go around our sun?", ("8", "eight"), ("7", "seven", "9", "nine", "10", "ten")),
    Question(
        "Which metal is liquid at room temperature?", ("mercury",), ("iron", "copper", "lead", "aluminum", "gold")
    ),
    Question("What is the chemical symbol for gold?", ("Au",), ("Ag", "G", "Go", "Gd")),
    Question(
        "What do we call the change of water from liquid to gas?",
        ("evaporation", "evaporate", "evaporates", "vaporization", "boiling"),
        ("condensation", "freezing", "melting"),
    ),
)

_PEOPLE = (
    Question("Who wrote the play Romeo and Juliet?", ("Shakespeare",), ("Dickens", "Marlowe", "Austen")),
    Question("Who was the first person to walk on the moon?", ("Armstrong",), ("Gagarin", "Glenn", "Shepard")),
    Question(
        "Who painted the Mona Lisa?", ("Leonardo", "da Vinci"), ("Michelangelo", "Picasso", "van Gogh", "Raphael")
    ),
    Question("In which year did the Second World War end?", ("1945",), ("1918", "1944", "1946")),
    Question("Which scientist is famous for the theory of relativity?", ("Einstein",), ("Darwin", "Curie", "Tesla")),
    Question("War and Peace is a novel by which writer?", ("Tolstoy", "Tolstoi"), ("Dostoevsky", "Chekhov", "Gogol")),
    Question("Which ship sank in 1912, on its first voyage, after it hit an iceberg?", ("Titanic",), ("Lusitania",)),
    Question("What do you call your mother's sister?", ("aunt", "auntie", "aunty"), ("niece", "cousin", "grandmother")),
    Question("What is a person who flies an airplane called?", ("pilot", "aviator"), ("driver", "sailor")),
    Question("Who works in a school and gives lessons to children?", ("teacher", "teachers"), ("doctor", "nurse")),
)

_ANIMALS = (
    Question('Which animal says "meow"?', ("cat", "cats", "kitten"), ("dog", "cow", "bird", "duck")),
    Question("What sound does a dog make?", ("bark", "barks", "barking", "woof", "bow wow"), ("meow", "moo", "quack")),
    Question("What is a baby cat called?", ("kitten", "kittens", "kitty"), ("puppy", "cub", "calf", "foal")),
    Question("Which big animal has a long trunk?", ("elephant", "elephants"), ("giraffe", "lion", "hippopotamus")),
    Question("How many legs does a dog have?", ("4", "four"), ("2", "two", "3", "three", "6", "six", "8", "eight")),
    Question("What is the largest animal on Earth?", ("whale", "whales"), ("elephant", "giraffe", "shark", "dinosaur")),
    Question("What does a caterpillar turn into?", ("butterfly", "butterflies", "moth"), ("bee", "beetle", "spider")),
    Question("What sweet food do bees make?", ("honey",), ("milk", "jam", "candy")),
    Question("Which animal carries its baby in a pouch and hops?", ("kangaroo", "wallaby"), ("rabbit", "frog", "hare")),
    Question(
        "Where do fish live?", ("water", "ocean", "oceans", "sea", "seas", "river", "rivers"), ("desert", "trees")
    ),
)

_COLORS = (
    Question("What color is the sky on a clear day?", ("blue",), ("green", "red", "black", "brown")),
    Question("What is the usual color of fresh grass?", ("green",), ("blue", "red", "black", "purple")),
    Question(
        "Which color do you get when you mix blue and yellow paint?", ("green",), ("red", "purple", "orange", "brown")
    ),
    Question("What color is a ripe banana?", ("yellow",), ("blue", "purple", "pink", "white")),
    Question("At which color of the traffic light must cars stop?", ("red",), ("green", "blue", "white")),
)

_TIME = (
    Question(
        "Which day comes right after Monday?", ("Tuesday",), ("Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    ),
    Question("How many days does a week have?", ("7", "seven"), ("5", "five", "6", "six", "8", "30")),
    Question("What is the first month of the year?", ("January",), ("February", "March", "December", "September")),
    Question("How many hours are in a day?", ("24", "twenty four"), ("12", "20", "60", "365")),
    Question("What is the coldest season of the year?", ("winter",), ("summer", "spring", "autumn")),
    Question("In which month is Christmas Day?", ("December",), ("January", "November", "October", "July")),
    Question("What is the meal that people eat in the morning called?", ("breakfast",), ("lunch", "dinner", "supper")),
    Question("How many days are in a leap year?", ("366",), ("364", "360", "367", "29", "28")),
    Question(
        "Today is Friday. What day is the day after tomorrow?",
        ("Sunday",),
        ("Monday", "Tuesday", "Wednesday", "Thursday"),
    ),
)

_WORDS = (
    Question('What is the opposite of "hot"?', ("cold", "cool", "chilly"), ("warm", "spicy")),
    Question(
        'Give me a word that means the opposite of "big".', ("small", "little", "tiny"), ("large", "huge", "giant")
    ),
    Question('What is an antonym of "happy"?', ("sad", "unhappy", "miserable"), ("glad", "joyful", "cheerful")),
    Question('"Day" is to "night" as "up" is to which word?', ("down",), ("above", "high", "left")),
    Question('Tell me another word for "quick".', ("fast", "rapid", "swift", "speedy", "brisk"), ("slow", "lazy")),
    Question('What is the plural of "mouse"?', ("mice",), ("mouses", "mices")),
    Question('What is the plural form of the word "child"?', ("children",), ("childs", "childrens")),
    Question('What is the past tense of "go"?', ("went",), ("goed", "goes")),
    Question('Write the sentence "I am happy" in the past tense.', ("was happy",), ("will be", "were happy")),
    Question("What is the title of the wife of a king?", ("queen",), ("duchess", "prince")),
    Question("How many letters are in the English alphabet?", ("26", "twenty six"), ("24", "25", "27", "28", "52")),
    Question("What is the last letter of the English alphabet?", ("Z",), ("Y", "X", "E", "T", "W")),
    Question('Correct the spelling of this word: "freind"', ("friend",), ("frend", "fiend")),
    Question('Spell the word "sun", with a hyphen between the letters.', ("s u n",)),
    Question('Write the word "table" backwards.', ("elbat",)),
    Question('Put these words in the right order: "is name Tom my"', ("my name is Tom", "Tom is my name")),
    Question('Which word rhymes with "cat": "hat" or "dog"?', ("hat",), ("dog",)),
    Question('Is "slowly" an adjective or an adverb?', ("adverb",), ("adjective",)),
)

_NUMBERS = (
    Question("What is 2 + 2?", ("4", "four"), ("3", "5", "6", "8", "22")),
    Question("What is 10 minus 3?", ("7", "seven"), ("6", "8", "13", "-7")),
    Question("What is half of 20?", ("10", "ten"), ("5", "40", "15")),
    Question("Which number is larger, 9 or 4?", ("9", "nine"), ("4", "four")),
    Question("I have three apples and I eat one. How many apples are left?", ("2", "two"), ("4", "four", "zero", "0")),
    Question("Which number comes next: 2, 4, 6?", ("8", "eight"), ("7", "9", "12")),
    Question("How many sides does a hexagon have?", ("6", "six"), ("4", "four", "5", "five", "7", "8", "eight")),
    Question("What shape has four equal sides?", ("square", "rhombus"), ("triangle", "circle", "pentagon")),
    Question("How many eggs are a dozen?", ("12", "twelve"), ("10", "6", "20", "24", "100")),
    Question("How many cents is one dollar worth?", ("100", "hundred"), ("10", "25", "50", "1000")),
    Question("How many fingers are on one hand?", ("5", "five"), ("3", "4", "6", "10", "ten")),
    Question("If you divide 10 by 2, what do you get?", ("5", "five"), ("4", "8", "20", "12")),
    Question("How much is 3 times 3?", ("9", "nine"), ("6", "six", "12", "27")),
    Question("Add 15 and 27.", ("42", "forty two"), ("32", "41", "43", "52")),
    Question("Multiply 17 by 6.", ("102",), ("92", "96", "112", "23")),
    Question("What is the square root of 81?", ("9", "nine"), ("8", "18", "40.5")),
)

_COMPLETIONS = (
    Question(
        'Complete the proverb: "An apple a day keeps the ... away."', ("doctor", "doctors"), ("teacher", "dentist")
    ),
    Question(
        'What is the last word of this line? "Roses are red, violets are ..."', ("blue",), ("green", "yellow", "white")
    ),
    Question(
        'Fill in the missing word: "We see with our eyes and hear with our ..."', ("ears",), ("nose", "hands", "mouth")
    ),
    Question('Finish the song line: "Twinkle, twinkle, little ..."', ("star",), ("car", "moon", "light", "lamb")),
)

_CHOICES = (
    Question("Is ice cold? Answer yes or no.", _YES, _NO),
    Question("Yes or no: is an apple a fruit?", _YES, _NO),
    Question("Do birds have wings, yes or no?", _YES, _NO),
    Question("Can a fish live on dry land for a year? Answer with yes or no.", _NO, _YES),
    Question("Please say yes or no: is Paris a city in China?", _NO, _YES),
    Question("Can people eat stones? Say yes or no.", _NO, _YES),
    Question("Which is heavier, a feather or a car?", ("car",), ("feather",)),
    Question("Is fire hot or cold?", ("hot",), ("cold",)),
    Question("Who runs faster, a cheetah or a snail?", ("cheetah",), ("snail",)),
    Question("Is a carrot a vegetable or an animal?", ("vegetable",), ("animal",)),
)

_EVERYDAY = (
    Question("Where can people borrow books for free?", ("library", "libraries"), ("restaurant", "museum")),
    Question("Which tool do you use to cut paper?", ("scissors", "knife", "cutter"), ("hammer", "spoon", "pen")),
    Question("From which fruit is wine made?", ("grape", "grapes"), ("banana", "orange", "lemon")),
    Question("Which vehicle runs on rails?", ("train", "trains", "tram", "locomotive"), ("bus", "bicycle", "plane")),
    Question("In which room of a house do people cook?", ("kitchen",), ("bedroom", "bathroom", "garage")),
    Question("What is the main thing that cheese is made from?", ("milk",), ("flour", "water", "meat")),
    Question("Which is the most important ingredient of bread?", ("flour", "wheat"), ("milk", "meat", "cheese")),
    Question("Which game ends with checkmate?", ("chess",), ("checkers", "poker", "football", "tennis")),
    Question(
        "Which instrument has black and white keys?", ("piano", "keyboard", "organ"), ("guitar", "violin", "flute")
    ),
)

_LANGUAGES = (
    Question("Which language do people speak in Germany?", ("German",), ("English", "French", "Dutch")),
    Question('How do you say "thank you" in Spanish?', ("gracias",), ("hola", "adiós", "por favor", "merci")),
    Question('Translate "hello" into French.', ("bonjour", "salut"), ("hola", "merci", "au revoir", "ciao")),
    Question('What is the Spanish word for "water"?', ("agua",), ("leche", "eau", "vino", "fuego")),
    Question('What does the Spanish word "hola" mean in English?', ("hello", "hi"), ("please", "thank you")),
    Question('Translate the word "dog" to Spanish.', ("perro", "perra"), ("gato", "chien", "cane", "caballo")),
    Question('What does "merci" mean?', ("thank you", "thanks"), ("please", "sorry", "goodbye", "mercy")),
    Question('How do you say "good morning" in German?', ("guten Morgen",), ("guten Abend", "gute Nacht", "bonjour")),
    Question('What is "red" in French?', ("rouge",), ("bleu", "vert", "rojo", "noir", "blanc")),
)

QUESTIONS: tuple[Question, ...] = (
    *_PLACES,
    *_SCIENCE,
    *_PEOPLE,
    *_ANIMALS,
    *_COLORS,
    *_TIME,
    *_WORDS,
    *_NUMBERS,
    *_COMPLETIONS,
    *_CHOICES,
    *_EVERYDAY,
    *_LANGUAGES,
)
