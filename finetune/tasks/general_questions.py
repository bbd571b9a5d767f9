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
    Question("In which country is the city of Rome?", ("Italy",), ("France", "Spain", "Greece")),
    Question("Tokyo is the largest city of which country?", ("Japan",), ("China", "Korea", "India")),
    Question("On which continent is Egypt?", ("Africa",), ("Europe", "America", "Australia")),
    Question("Which ocean is the largest one on Earth?", ("Pacific",), ("Atlantic", "Indian", "Arctic")),
    Question("Name the highest mountain in the world.", ("Everest",), ("K2", "Kilimanjaro", "Mont Blanc")),
    Question("What language do most people in Brazil speak?", ("Portuguese",), ("English", "French", "German")),
    Question("Which river flows through London?", ("Thames",), ("Seine", "Danube", "Nile", "Rhine")),
    Question(
        "What money do people pay with in Japan?", ("yen",), ("won", "yuan", "dollar", "dollars", "euro", "euros")
    ),
    Question("Which direction is the opposite of north?", ("south", "southward", "southwards"), ("east", "west")),
    Question(
        "Which large country lies directly north of the United States?", ("Canada",), ("Mexico", "Russia", "Greenland")
    ),
)

_SCIENCE = (
    Question("Which gas must people breathe in to stay alive?", ("oxygen", "O2"), ("helium", "hydrogen", "methane")),
    Question("What is the chemical formula of water?", ("H2O",), ("CO2", "O2", "NaCl", "H2O2")),
    Question(
        "At how many degrees Celsius does water freeze?",
        ("0", "zero"),
        ("100", "10", "-10", "50", "4", "20", "-1", "37"),
    ),
    Question("Which planet do we live on?", ("Earth",), ("Mars", "Venus", "Jupiter", "Saturn")),
    Question("What is the name of the star that gives us daylight?", ("sun",), ("Sirius", "Polaris", "Vega", "moon")),
    Question("What do you call water that has frozen solid?", ("ice",), ("steam", "rain", "vapor")),
    Question("Which planet is called the Red Planet?", ("Mars",), ("Venus", "Jupiter", "Saturn", "Mercury")),
    Question("What force makes a dropped ball fall to the ground?", ("gravity", "gravitational"), ("magnetism",)),
    Question("Which organ pumps blood through the body?", ("heart",), ("lung", "lungs", "liver", "brain", "kidney")),
    Question("What does a thermometer measure?", ("temperature", "temperatures"), ("pressure", "weight", "length")),
    Question(
        "Which gas do plants take from the air to make their food?", ("carbon dioxide", "CO2"), ("nitrogen", "helium")
    ),
    Question(
        "Which part of a tree grows under the ground?", ("root", "roots"), ("leaf", "leaves", "branches", "trunk")
    ),
    Question("How many planets go around our sun?", ("8", "eight"), ("7", "seven", "9", "nine", "10", "ten")),
    Question(
        "Which metal is liquid at room temperature?", ("mercury",), ("iron", "copper", "lead", "aluminum", "gold")
    ),
    Question("What is the chemical symbol for gold?", ("Au",), ("Ag", "G", "Go", "Gd")),
    Question("Which part of the body do we think with?", ("brain",), ("heart", "stomach", "liver")),
    Question(
        "What do we call the change of water from liquid to gas?",
        ("evaporation", "evaporate", "evaporates", "boiling", "vaporization", "vaporisation"),
        ("condensation", "freezing", "melting"),
    ),
)

_PEOPLE = (
    Question("Who wrote the play Romeo and Juliet?", ("Shakespeare",), ("Dickens", "Marlowe", "Austen")),
    Question("Who was the first person to walk on the moon?", ("Armstrong",), ("Gagarin", "Glenn", "Shepard")),
    Question(
        "Who painted the Mona Lisa?", ("Leonardo", "da Vinci"), ("Michelangelo", "Picasso", "van Gogh", "Raphael")
    ),
    Question("In which year did the Second World War end?", ("1945",), ("1918", "1939", "1944", "1946")),
    Question("Which scientist is famous for the theory of relativity?", ("Einstein",), ("Newton", "Galileo", "Darwin")),
    Question(
        "What do you call your mother's sister?",
        ("aunt", "auntie", "aunty"),
        ("uncle", "niece", "cousin", "grandmother"),
    ),
    Question("What is a person who flies an airplane called?", ("pilot", "aviator"), ("driver", "captain of a ship")),
    Question(
        "Who works in a school and gives lessons to children?", ("teacher", "teachers"), ("doctor", "nurse", "student")
    ),
)

_ANIMALS = (
    Question('Which animal says "meow"?', ("cat", "cats", "kitten"), ("dog", "cow", "bird", "duck")),
    Question("What sound does a dog make?", ("bark", "barks", "barking", "woof", "bow wow"), ("meow", "moo", "quack")),
    Question("What is a baby cat called?", ("kitten", "kittens", "kitty"), ("puppy", "cub", "calf", "foal")),
    Question(
        "Which big animal has a long trunk?", ("elephant", "elephants"), ("giraffe", "lion", "hippopotamus", "whale")
    ),
    Question("From which animal do we get wool?", ("sheep", "lamb", "lambs"), ("cow", "pig", "chicken", "dog")),
    Question("How many legs does a spider have?", ("8", "eight"), ("4", "four", "6", "six", "10", "ten")),
    Question("What does a caterpillar turn into?", ("butterfly", "butterflies", "moth"), ("bee", "beetle", "spider")),
    Question("What sweet food do bees make?", ("honey",), ("milk", "sugar", "jam")),
    Question("Which drink do we get from cows?", ("milk",), ("coffee", "wine", "tea", "beer")),
    Question("Which animal carries its baby in a pouch and hops?", ("kangaroo", "wallaby"), ("rabbit", "frog", "hare")),
    Question(
        "Where do fish live?",
        ("water", "waters", "ocean", "oceans", "sea", "seas", "river", "rivers"),
        ("desert", "trees"),
    ),
)

_COLOURS = (
    Question("What color is the sky on a clear day?", ("blue",), ("green", "red", "yellow", "black", "purple")),
    Question("What is the usual color of fresh grass?", ("green",), ("blue", "red", "black", "purple", "white")),
    Question(
        "Which color do you get when you mix blue and yellow paint?", ("green",), ("red", "purple", "orange", "brown")
    ),
    Question("What color is a ripe banana?", ("yellow",), ("blue", "purple", "pink", "black", "white")),
    Question("Which color is snow?", ("white",), ("blue", "black", "green", "red")),
    Question("At which color of the traffic light must cars stop?", ("red",), ("green", "blue", "white")),
)

_TIME = (
    Question(
        "Which day comes right after Monday?", ("Tuesday",), ("Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    ),
    Question("How many days does a week have?", ("7", "seven"), ("5", "five", "6", "six", "8", "30")),
    Question("What is the first month of the year?", ("January",), ("February", "March", "December", "September")),
    Question("How many minutes are there in one hour?", ("60", "sixty"), ("24", "30", "100", "12")),
    Question("What is the coldest season of the year?", ("winter",), ("summer", "spring", "autumn", "fall")),
    Question("In which month is Christmas Day?", ("December",), ("January", "November", "October", "July")),
    Question("Name the day before Sunday.", ("Saturday",), ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")),
    Question("What is the meal that people eat in the morning called?", ("breakfast",), ("lunch", "dinner", "supper")),
    Question("How many days are in a leap year?", ("366",), ("364", "360", "367", "29", "28")),
)

_WORDS = (
    Question('What is the opposite of "hot"?', ("cold", "cool", "chilly"), ("warm", "heat", "spicy")),
    Question(
        'Give me a word that means the opposite of "big".', ("small", "little", "tiny"), ("large", "huge", "giant")
    ),
    Question(
        'What is an antonym of "happy"?', ("sad", "unhappy", "miserable", "sorrowful"), ("glad", "joyful", "cheerful")
    ),
    Question("If a towel is not dry, what is it?", ("wet", "damp", "moist", "soaked"), ("clean", "dirty", "hot")),
    Question(
        'Tell me another word for "quick".', ("fast", "rapid", "swift", "speedy", "prompt", "brisk"), ("slow", "lazy")
    ),
    Question('What is the plural of "mouse"?', ("mice",), ("mouses", "mices", "meese")),
    Question('What is the plural form of the word "child"?', ("children",), ("childs", "childrens")),
    Question('What is the past tense of "go"?', ("went",), ("goed", "gone", "goes")),
    Question('Write the sentence "I am happy" in the past tense.', ("was happy",), ("will be", "were happy")),
    Question("What is the title of the wife of a king?", ("queen",), ("princess", "duchess", "prince")),
    Question("What is the last letter of the English alphabet?", ("Z",), ("Y", "X", "E", "T", "A", "W")),
    Question('Correct the spelling of this word: "freind"', ("friend",), ("frend", "fiend")),
    Question('Which word rhymes with "cat": "hat" or "dog"?', ("hat",), ("dog",)),
    Question('Spell the word "sun", with a hyphen between the letters.', ("s u n",)),
    Question('Put these words in the right order: "is name Tom my"', ("my name is Tom", "Tom is my name")),
    Question('Which of these words is a verb: "run" or "table"?', ("run",), ("table",)),
    Question('Is "slowly" an adjective or an adverb?', ("adverb",), ("adjective",)),
)

_NUMBERS = (
    Question("What is 2 + 2?", ("4", "four"), ("3", "5", "6", "8", "22")),
    Question("What is 10 minus 3?", ("7", "seven"), ("6", "8", "13", "-7")),
    Question("How much is 5 times 6?", ("30", "thirty"), ("11", "25", "36", "56")),
    Question("What is half of 20?", ("10", "ten"), ("5", "40", "15")),
    Question("Which number is larger, 9 or 4?", ("9", "nine"), ("4", "four")),
    Question("I have three apples and I eat one. How many apples are left?", ("2", "two"), ("4", "four", "zero", "0")),
    Question("Which number comes next: 2, 4, 6?", ("8", "eight"), ("7", "9", "12")),
    Question("How many sides does a triangle have?", ("3", "three"), ("2", "4", "5", "6")),
    Question("How many eggs are a dozen?", ("12", "twelve"), ("10", "6", "20", "24", "100")),
    Question("How many cents is one dollar worth?", ("100", "hundred"), ("10", "25", "50", "1000")),
    Question("How many wheels does a bicycle have?", ("2", "two"), ("3", "three", "4", "four")),
    Question("Add 15 and 27.", ("42", "forty two"), ("32", "41", "43", "52")),
    Question("What is the square root of 81?", ("9", "nine"), ("8", "18", "3", "40.5")),
)

_COMPLETIONS = (
    Question(
        'Complete the proverb: "An apple a day keeps the ... away."', ("doctor", "doctors"), ("teacher", "dentist")
    ),
    Question(
        'What is the last word of this line? "Roses are red, violets are ..."', ("blue",), ("green", "yellow", "white")
    ),
    Question(
        'Many fairy tales begin with "Once upon a". Which word follows?', ("time",), ("midnight", "night", "dream")
    ),
    Question('Complete the sentence: "Fish swim and birds ..."', ("fly", "soar"), ("walk", "run", "bark")),
    Question(
        'Fill in the missing word: "We see with our eyes and hear with our ..."', ("ears",), ("nose", "hands", "mouth")
    ),
    Question('Finish the song line: "Twinkle, twinkle, little ..."', ("star",), ("car", "moon", "light", "lamb")),
)

_CHOICES = (
    Question("Is ice cold? Answer yes or no.", _YES, _NO),
    Question("Yes or no: is an apple a fruit?", _YES, _NO),
    Question("Do birds have wings? Say yes or no.", _YES, _NO),
    Question("Does a square have four sides, yes or no?", _YES, _NO),
    Question("Can a fish live on dry land for a year? Answer yes or no.", _NO, _YES),
    Question("Yes or no: is Paris a city in China?", _NO, _YES),
    Question("Can people eat stones? Say yes or no.", _NO, _YES),
    Question("Is 3 more than 50, yes or no?", _NO, _YES),
    Question("Which is heavier, a feather or a car?", ("car",), ("feather",)),
    Question("Which one tastes sweet: sugar or salt?", ("sugar",), ("salt",)),
    Question("Is fire hot or cold?", ("hot",), ("cold",)),
    Question("Which animal is faster, a snail or a cheetah?", ("cheetah",), ("snail",)),
    Question("Do people wear shoes or gloves on their feet?", ("shoe", "shoes"), ("glove", "gloves")),
    Question("Is a carrot a vegetable or an animal?", ("vegetable",), ("animal",)),
)

_EVERYDAY = (
    Question("Where can people borrow books for free?", ("library", "libraries"), ("restaurant", "bank", "museum")),
    Question(
        "Which tool do you use to cut paper?",
        ("scissors", "knife", "cutter", "paper cutter"),
        ("hammer", "spoon", "pen"),
    ),
    Question("From which fruit is wine made?", ("grape", "grapes"), ("apple", "banana", "orange", "lemon")),
    Question(
        "Which vehicle runs on rails?", ("train", "trains", "tram", "locomotive"), ("car", "bus", "bicycle", "plane")
    ),
    Question("In which room of a house do people cook?", ("kitchen",), ("bedroom", "bathroom", "garage")),
    Question(
        "Name one fruit.",
        (
            "apple",
            "banana",
            "orange",
            "mango",
            "grape",
            "grapes",
            "pear",
            "peach",
            "strawberry",
            "lemon",
            "pineapple",
            "kiwi",
            "cherry",
            "watermelon",
            "blueberry",
            "plum",
            "papaya",
        ),
        ("carrot", "potato", "onion"),
    ),
    Question(
        "What do you hold over your head when it rains?", ("umbrella", "umbrellas"), ("sunglasses", "fan", "candle")
    ),
    Question(
        "Which instrument has black and white keys?",
        ("piano", "keyboard", "organ"),
        ("guitar", "violin", "drum", "flute"),
    ),
)

_LANGUAGES = (
    Question('How do you say "thank you" in Spanish?', ("gracias",), ("hola", "adiós", "por favor", "merci")),
    Question('Translate "hello" into French.', ("bonjour", "salut", "allô"), ("hola", "merci", "au revoir", "ciao")),
    Question('What is the Spanish word for "water"?', ("agua",), ("leche", "eau", "vino", "fuego")),
    Question('What does the Spanish word "hola" mean in English?', ("hello", "hi"), ("goodbye", "please", "thank you")),
    Question('Translate the word "dog" to Spanish.', ("perro", "perra"), ("gato", "chien", "cane", "caballo")),
    Question('What does "merci" mean?', ("thank you", "thanks"), ("please", "sorry", "hello", "goodbye", "mercy")),
    Question('How do you say "good morning" in German?', ("guten Morgen",), ("guten Abend", "gute Nacht", "bonjour")),
    Question('What is "red" in French?', ("rouge",), ("bleu", "vert", "rojo", "noir", "blanc")),
)

QUESTIONS: tuple[Question, ...] = (
    *_PLACES,
    *_SCIENCE,
    *_PEOPLE,
    *_ANIMALS,
    *_COLOURS,
    *_TIME,
    *_WORDS,
    *_NUMBERS,
    *_COMPLETIONS,
    *_CHOICES,
    *_EVERYDAY,
    *_LANGUAGES,
)
