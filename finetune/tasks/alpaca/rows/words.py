"""The words and sentences that the tasks are about."""

import random
from datetime import date, timedelta

NAMES = (
    "Ada Ahmed Aiko Amara Ana Anton Beatriz Bruno Carlos Chidi Clara Daniel Diego Elena Elif Emma Farah Felix Fiona George "
    "Grace Hana Hugo Ines Ivan Jamal Jonas Julia Kofi Lars Leila Lena Liam Lucia Malik Marco Maria Marta Mei Nadia Nina Noah "
    "Olga Omar Oscar Paula Pavel Priya Rosa Samir Sara Sofia Tariq Theo Uma Vera Victor Wei Yara Yusuf Zoe"
).split()
SURNAMES = (
    "Abdi Adams Baker Bauer Brown Carter Chen Costa Dubois Evans Fischer Garcia Green Haddad Hall Ito Jensen Jones Kaya Khan "
    "Kim Kowalski Larsen Lopez Mensah Moreau Moretti Murphy Nguyen Novak Okafor Olsen Patel Petrov Popov Reed Rossi Santos "
    "Sato Schmidt Silva Singh Smith Taylor Torres Walker Weber Wilson Wong Young"
).split()
CITIES = (
    "Accra Athens Berlin Bogota Boston Cairo Chicago Dakar Delhi Denver Dublin Hanoi Havana Helsinki Istanbul Jakarta Kyoto "
    "Lagos Leeds Lima Lisbon London Lyon Madrid Manila Milan Montreal Mumbai Nairobi Oslo Paris Prague Quito Rome Seattle "
    "Seoul Sydney Toronto Vienna Warsaw Zurich"
).split()
CATEGORIES = {
    "animal": "badger beaver camel cow deer dolphin donkey elephant fox giraffe goat hedgehog horse kangaroo lion monkey "
    "otter owl penguin rabbit sheep squirrel tiger trout whale wolf zebra".split(),
    "fruit": "apple apricot banana blueberry cherry coconut fig grape grapefruit lemon mango melon papaya peach pear "
    "pineapple plum raspberry strawberry".split(),
    "vegetable": "asparagus beetroot broccoli cabbage carrot cauliflower celery kale leek lettuce onion parsnip potato radish "
    "spinach turnip".split(),
    "tool": "axe chisel drill hammer ladder pliers rake sander saw screwdriver shovel spade trowel wrench".split(),
    "colour": "beige black blue brown crimson green grey indigo purple red scarlet turquoise white yellow".split(),
    "instrument": "accordion banjo bassoon cello clarinet flute guitar harp oboe piano saxophone trombone trumpet tuba "
    "ukulele viola violin".split(),
    "country": "Argentina Bolivia Brazil Canada Denmark Egypt Estonia Finland France Ghana Greece India Ireland Italy Japan "
    "Kenya Latvia Mexico Morocco Nepal Norway Peru Poland Portugal Spain Sweden Thailand Vietnam".split(),
    "vehicle": "ambulance bicycle bus canoe car ferry helicopter lorry motorcycle scooter submarine tractor train tram "
    "truck van yacht".split(),
    "garment": "blouse cardigan coat dress gloves hat jacket jeans jumper pyjamas sandals scarf shirt skirt socks sweater "
    "trousers".split(),
    "profession": "accountant architect baker barber butcher carpenter dentist doctor electrician engineer farmer gardener "
    "journalist lawyer librarian nurse pharmacist plumber surgeon tailor teacher waiter".split(),
    "furniture": "armchair bed bookcase chair cupboard desk dresser sideboard sofa stool table wardrobe".split(),
    "sport": "archery badminton baseball basketball boxing cricket football golf gymnastics handball hockey judo rowing "
    "rugby sailing swimming tennis volleyball wrestling".split(),
}
LABELS = tuple(CATEGORIES)
EVERYTHING = [word for label in LABELS for word in CATEGORIES[label]]

# singular and plural
NOUNS = [
    tuple(pair.split("/"))
    for pair in (
        "apple/apples baby/babies bag/bags ball/balls bench/benches berry/berries bottle/bottles box/boxes branch/branches "
        "bridge/bridges brush/brushes bucket/buckets bus/buses butterfly/butterflies button/buttons candle/candles card/cards "
        "cat/cats chair/chairs cherry/cherries child/children church/churches city/cities class/classes coin/coins "
        "country/countries cup/cups daisy/daisies diary/diaries dish/dishes dog/dogs dress/dresses egg/eggs envelope/envelopes "
        "factory/factories family/families flower/flowers foot/feet fox/foxes glass/glasses goose/geese half/halves key/keys "
        "kite/kites knife/knives lady/ladies lamp/lamps leaf/leaves letter/letters library/libraries loaf/loaves "
        "man/men marble/marbles match/matches mouse/mice notebook/notebooks ox/oxen party/parties peach/peaches pencil/pencils "
        "penny/pennies photo/photos pillow/pillows plate/plates postcard/postcards potato/potatoes puppy/puppies ring/rings "
        "sandwich/sandwiches shelf/shelves shoe/shoes sock/socks spoon/spoons stamp/stamps sticker/stickers stone/stones "
        "story/stories strawberry/strawberries table/tables ticket/tickets tomato/tomatoes tooth/teeth toy/toys tree/trees "
        "umbrella/umbrellas watch/watches wife/wives window/windows wolf/wolves woman/women"
    ).split()
]
THINGS = (
    "apples balloons beads blankets bottles bricks buckets buttons candles cards coins cups cushions eggs envelopes feathers "
    "flowers forks jars keys lanterns lemons maps marbles mugs nails notebooks oranges pears pencils pens photos pins plates "
    "postcards potatoes ribbons sandwiches shells spoons stamps stickers stones tickets tomatoes towels toys umbrellas"
).split()
# positive, comparative, superlative
ADJECTIVES = [
    tuple(forms.split())
    for forms in (
        "bad worse worst,big bigger biggest,brave braver bravest,bright brighter brightest,broad broader broadest,"
        "busy busier busiest,calm calmer calmest,cheap cheaper cheapest,clean cleaner cleanest,cold colder coldest,"
        "cool cooler coolest,dark darker darkest,deep deeper deepest,dirty dirtier dirtiest,dry drier driest,"
        "early earlier earliest,easy easier easiest,fast faster fastest,flat flatter flattest,funny funnier funniest,"
        "good better best,happy happier happiest,hard harder hardest,heavy heavier heaviest,high higher highest,"
        "hot hotter hottest,kind kinder kindest,large larger largest,late later latest,light lighter lightest,"
        "long longer longest,loud louder loudest,new newer newest,nice nicer nicest,noisy noisier noisiest,old older oldest,"
        "pretty prettier prettiest,quick quicker quickest,rich richer richest,sad sadder saddest,safe safer safest,"
        "sharp sharper sharpest,short shorter shortest,slow slower slowest,small smaller smallest,soft softer softest,"
        "strong stronger strongest,sweet sweeter sweetest,tall taller tallest,thick thicker thickest,thin thinner thinnest,"
        "tiny tinier tiniest,warm warmer warmest,weak weaker weakest,wet wetter wettest,wide wider widest,"
        "wise wiser wisest,young younger youngest"
    ).split(",")
]
# infinitive, third person, past, and what goes with it
VERBS = [
    tuple(forms.split(maxsplit=3))
    for forms in (
        "answer answers answered every question,bake bakes baked a loaf of bread,book books booked a table for two,"
        "break breaks broke the silence,bring brings brought a bottle of water,build builds built a small shed,"
        "buy buys bought fresh flowers,call calls called the dentist,carry carries carried the heavy suitcase,"
        "catch catches caught the early train,choose chooses chose the blue curtains,clean cleans cleaned the windows,"
        "close closes closed the shop,collect collects collected the parcel,cook cooks cooked dinner for the family,"
        "count counts counted the tickets,dig digs dug a hole in the garden,do does did the laundry,"
        "draw draws drew a map of the town,drink drinks drank a cup of green tea,drive drives drove to the airport,"
        "eat eats ate soup and salad,feed feeds fed the neighbour's cat,fill fills filled the bathtub,"
        "find finds found a seat,finish finishes finished the report,fix fixes fixed the bicycle,"
        "fly flies flew to another city,fold folds folded the clean towels,forget forgets forgot the password,"
        "get gets got a letter from the bank,give gives gave a short speech,go goes went to the library,"
        "grow grows grew tomatoes on the balcony,help helps helped an old friend,hide hides hid the presents,"
        "invite invites invited the whole team,keep keeps kept a diary,learn learns learned a new song,"
        "leave leaves left the office,lose loses lost the house keys,make makes made a list of questions,"
        "meet meets met the new teacher,mend mends mended the torn jacket,move moves moved the sofa,"
        "open opens opened the gate,order orders ordered two pizzas,pack packs packed a small bag,"
        "paint paints painted the fence,pay pays paid the electricity bill,plant plants planted three trees,"
        "play plays played the piano,polish polishes polished the old table,rent rents rented a boat,"
        "repair repairs repaired the radio,ride rides rode a horse,ring rings rang the bell,"
        "run runs ran along the river,sell sells sold the old car,send sends sent a postcard,"
        "sing sings sang in the choir,sleep sleeps slept in the tent,speak speaks spoke to the manager,"
        "steal steals stole the last biscuit,study studies studied for the exam,sweep sweeps swept the kitchen floor,"
        "swim swims swam across the lake,take takes took the bus to work,teach teaches taught a class of beginners,"
        "tell tells told a long story,throw throws threw the ball,travel travels travelled by train,"
        "try tries tried the spicy sauce,visit visits visited the museum,wait waits waited at the station,"
        "walk walks walked the dog,wash washes washed the dishes,watch watches watched the football match,"
        "water waters watered the plants,wear wears wore a red scarf,win wins won the chess game,"
        "wrap wraps wrapped the gift,write writes wrote a letter"
    ).split(",")
]
TIMES = (
    "on Monday,on Tuesday,on Thursday,on Saturday,on Sunday morning,on Friday evening,after lunch,before breakfast,"
    "in the morning,in the afternoon,in the evening,at noon,at midnight,before the meeting,after the storm,"
    "during the holidays,in January,in March,in July,in October,in winter,in spring,at the weekend,before sunset,"
    "after school"
).split(",")
PLACES = (
    "at the market,at the station,in the attic,in the basement,in the car,in the classroom,in the cupboard,"
    "in the garage,in the garden,in the hall,in the kitchen,in the library,in the office,in the park,in the shop,"
    "in the top drawer,near the window,next to the door,on the balcony,on the bench,on the desk,on the kitchen table,"
    "on the lowest shelf,on the roof,under the bed,under the stairs,behind the sofa,beside the river"
).split(",")
MONTHS = "January February March April May June July August September October November December".split()
NUMBER_WORDS = "two three four five six seven eight nine ten eleven twelve".split()
ORDINALS = "first second third fourth fifth sixth".split()


def sentence(rng: random.Random) -> str:
    name, when, where = rng.choice(NAMES), rng.choice(TIMES), rng.choice(PLACES)
    plain, third, past, rest = rng.choice(VERBS)
    match rng.randrange(5):
        case 0:
            return f"{name} {past} {rest} {when}."
        case 1:
            return f"{name} always {third} {rest} {when}."
        case 2:
            return f"There are {rng.choice(NUMBER_WORDS)} {rng.choice(THINGS)} {where}."
        case 3:
            return f"My friend {name} wants to {plain} {rest} {when}."
        case _:
            return f"{name} left {rng.choice(NUMBER_WORDS)} {rng.choice(THINGS)} {where} {when}."


def phrase(rng: random.Random) -> str:
    """Four to seven words in lower case, such as a title has."""
    return f"the {rng.choice(ADJECTIVES)[0]} {rng.choice(NOUNS)[0]} {rng.choice(PLACES)}"


def some_words(rng: random.Random, least: int = 3, most: int = 6) -> list[str]:
    """Different words of one category."""
    return rng.sample(CATEGORIES[rng.choice(LABELS)], rng.randrange(least, most + 1))


def some_numbers(rng: random.Random, least: int = 3, most: int = 6) -> list[int]:
    return rng.sample(range(2, rng.choice((50, 100, 1000))), rng.randrange(least, most + 1))


def some_day(rng: random.Random) -> date:
    return date(1950, 1, 1) + timedelta(days=rng.randrange(29_000))


def long_date(day: date) -> str:
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"
