#!/usr/bin/env python3
r"""Writes simple, coherent short stories and small chats: training text for a very small language model.

Usage:  stories.py OUT.txt --megabytes 24 --seed 1 [--held HELD.txt --held-kilobytes 100]

Why: a model of a few million parameters learns to tell a coherent story only from coherent stories.  Here each
story comes from a plot (a story grammar): a list of beats over one story state (names, pronouns, things, places,
weather), so that cause and effect and all references agree from the first sentence to the last.

How the texts are written (see `Story.expand`):
    [a|b|c]    one of the alternatives, may be nested; [a|] is optional
    <word>     a random entry of WORDS["word"]
    {x}        the story state: {h} hero, {f} friend, {p} grown-up, {he} {him} {his} {himself} of the hero,
               {f.he} and so on of others, {h.said} {h.asked} {h.cried} a speech tag, {h.call} the form of address
    ^          the next letter is a capital (starts of sentences and of quotations become capitals by themselves)
A beat is a string or a list of strings (alternatives); a leading "?" makes it optional; a set-like `mix(...)` holds
beats in any order.  "a" becomes "an" by itself.  Each document ends with <|end_of_text|>; about 30 % are chats.
"""
import argparse
import random
import re

# ---------------------------------------------------------------- data tables
GIRLS = """Lily Mia Anna Emma Sara Lucy Ella Zoe Amy Rosie Molly Nina Ruby Daisy Clara Sophie Grace Hannah Julia Kate Lena
Maya Nora Olivia Penny Rita Sally Tina Vera Wendy Ivy Bella Alice Betty Carla Dora Eva Fay Gina Holly Ida Jenny Kim Lola Mary
Nelly Poppy Rose Stella Tess Una Willow Ada Maria Jane Susie Lina Amelia Hazel June""".split()
BOYS = """Tom Ben Max Sam Tim Jack Leo Finn Noah Oscar Paul Peter Billy Bobby Charlie Danny Eddie Fred George Harry Henry Jake
Joe John Kevin Luke Mark Mike Nick Oliver Owen Pete Ray Robin Rob Sid Ted Toby Will Zack Adam Alex Andy Carl Dan David Eli Felix
Gus Hugo Ian James Kai Liam Milo Ned Otto Ralph Simon Theo""".split()
# kind: home, size (s small, m middle, b big), sound verb, what it is good at, a food it likes
ANIMALS = {
    "rabbit": ("burrow", "s", "squeaked", "hop very fast", "carrots"), "fox": ("den", "m", "barked", "find its way in the dark", "berries"),
    "bear": ("cave", "b", "growled", "carry heavy things", "honey"), "mouse": ("hole", "s", "squeaked", "fit through small holes", "cheese"),
    "squirrel": ("tree house", "s", "chattered", "climb tall trees", "nuts"), "hedgehog": ("nest of leaves", "s", "snuffled", "roll into a ball", "apples"),
    "frog": ("pond", "s", "croaked", "jump very far", "berries"), "duck": ("nest", "s", "quacked", "swim well", "bread"),
    "owl": ("old tree", "m", "hooted", "see in the dark", "nuts"), "cat": ("basket", "m", "meowed", "walk without a sound", "fish"),
    "dog": ("dog house", "m", "barked", "smell things far away", "bones"), "pig": ("pen", "m", "grunted", "dig with its nose", "apples"),
    "cow": ("barn", "b", "mooed", "pull a cart", "grass"), "horse": ("stable", "b", "neighed", "run fast", "hay"),
    "sheep": ("barn", "m", "bleated", "keep others warm", "grass"), "goat": ("shed", "m", "bleated", "climb steep rocks", "leaves"),
    "hen": ("coop", "s", "clucked", "scratch in the ground", "corn"), "lion": ("den", "b", "roared", "roar very loudly", "fish"),
    "elephant": ("valley", "b", "trumpeted", "lift logs", "bananas"), "monkey": ("tree house", "m", "chattered", "swing from trees", "bananas"),
    "turtle": ("pond", "s", "hummed", "keep going", "lettuce"), "deer": ("thicket", "b", "called", "leap over bushes", "leaves"),
    "beaver": ("dam", "m", "chirped", "build things out of wood", "bark"), "mole": ("tunnel", "s", "squeaked", "dig deep tunnels", "roots"),
    "badger": ("den", "m", "grunted", "dig holes", "berries"), "otter": ("river bank", "m", "chirped", "swim fast", "fish"),
    "penguin": ("ice house", "m", "honked", "slide on the ice", "fish"), "panda": ("bamboo grove", "b", "hummed", "climb slowly and well", "leaves"),
    "puppy": ("basket", "s", "barked", "run in circles", "bones"), "kitten": ("basket", "s", "meowed", "jump up high", "milk"),
    "donkey": ("stable", "b", "brayed", "carry heavy bags", "hay"), "goose": ("nest", "m", "honked", "swim well", "corn"),
    "koala": ("tall tree", "m", "grunted", "hold on tight", "leaves"), "raccoon": ("hollow log", "m", "chirped", "open boxes", "berries"),
    "lamb": ("barn", "s", "bleated", "jump and skip", "grass"), "chipmunk": ("hole", "s", "chattered", "carry nuts", "nuts"),
    "wolf": ("cave", "b", "howled", "run all day", "meat"), "giraffe": ("tall shed", "b", "hummed", "reach the top of trees", "leaves"),
    "snail": ("garden", "s", "whispered", "carry its house", "lettuce"), "tiger": ("den", "b", "roared", "jump far", "fish"),
}
SMALL = [k for k, v in ANIMALS.items() if v[1] == "s"]
BIG = [k for k, v in ANIMALS.items() if v[1] == "b"]
LAND = [k for k in ANIMALS if k not in ("frog", "duck", "turtle", "goose", "otter", "penguin", "beaver", "snail", "owl", "hen")]
BIRDS = ["robin", "sparrow", "blackbird", "swallow", "crow", "dove", "bluebird", "wren", "finch", "blue jay"]
PETS = ["puppy", "kitten", "rabbit", "lamb", "duckling", "turtle", "piglet", "baby goat", "hamster", "pony"]
INSECTS = ["ladybug", "butterfly", "bee", "beetle", "snail", "firefly", "cricket", "ant"]
COLOURS = "red blue green yellow orange purple pink white brown golden silver".split()
TOYS = """ball|teddy bear|doll|toy car|toy train|toy boat|puppet|drum|spinning top|toy duck|toy horse|toy robot|jump rope|toy truck|
toy plane|toy dinosaur|whistle|toy elephant|toy bus|toy lion|toy tractor|flute|marble|yo-yo""".replace("\n", "").split("|")
WEAR = "hat|scarf|mitten|ribbon|cap|sock|shoe|bow|glove|boot|bracelet|button|ring|necklace".split("|")
MENDABLE = [("wooden chair", "leg", "came off"), ("toy cart", "wheel", "came off"), ("wagon", "wheel", "fell off"), ("toy boat", "sail", "tore"),
            ("kite", "tail", "came off"), ("teddy bear", "arm", "came off"), ("music box", "lid", "broke off"), ("doll", "leg", "came off"),
            ("toy plane", "wing", "broke off"), ("birdhouse", "roof", "fell off"), ("clock", "hand", "fell off"), ("basket", "handle", "broke off"),
            ("swing", "rope", "broke"), ("toy horse", "tail", "came off"), ("little gate", "latch", "broke"), ("watering can", "handle", "came off")]
BREAKABLE = ["vase", "cup", "plate", "bowl", "lamp", "jar", "teapot", "window", "mirror", "flower pot", "glass", "jug"]
SNACKS = ["cookies", "apples", "strawberries", "muffins", "pears", "nuts", "plums", "cherries", "blueberries", "grapes", "pancakes", "buns",
          "peaches", "raspberries", "sandwiches", "carrots", "waffles", "oranges"]
CAKES = ["carrot cake", "apple cake", "honey cake", "chocolate cake", "berry cake", "lemon cake", "banana cake", "nut cake", "cherry cake",
         "pumpkin cake", "plum cake", "strawberry cake"]
SWEETS = ["candies", "cookies", "lollipops", "chocolates", "cupcakes", "jelly beans", "gummy bears", "doughnuts"]
PLANTS = [("sunflower", "flower"), ("rose", "flower"), ("tomato plant", "plant"), ("pumpkin", "plant"), ("bean plant", "plant"), ("tulip", "flower"),
          ("daisy", "flower"), ("strawberry plant", "plant"), ("apple tree", "tree"), ("cherry tree", "tree"), ("poppy", "flower"), ("pea plant", "plant")]
OUT = ["in the park", "in the garden", "in the meadow", "by the river", "on the hill", "at the edge of the forest", "near the pond", "in the yard",
       "by the old oak tree", "on the green field", "near the bridge", "beside the lake", "on the farm", "by the stream", "under the apple trees"]
GOTO = ["park", "garden", "meadow", "river", "hill", "forest", "pond", "lake", "field", "farm", "stream", "beach", "orchard", "market"]
HIDES = ["under a bush", "behind a tree", "in the tall grass", "under a pile of leaves", "behind a big rock", "under the bench", "beside the fence",
         "in a hollow log", "under the steps", "behind the shed", "between two stones", "behind the flower pots", "under the table",
         "in the flower bed", "behind the gate", "under an old bucket", "next to the well", "inside an old boot", "under the big chair"]
HUMAN_TOWNS = ["in a small village", "in a little town", "in a {c0} house near the forest", "on a small farm", "in a house by the sea",
               "in a little house on a hill", "in a big city", "in a cozy house by a river", "at the end of a quiet street",
               "in a small house with a {c0} door", "next to a big park", "in a town by a lake"]
WILD = ["in a big green forest", "near a quiet pond", "at the edge of the forest", "on a sunny hill", "in a wide meadow", "on a small farm",
        "in a quiet valley", "by a little river", "behind an old mill", "in a deep, dark wood", "near a big lake", "in a garden full of flowers"]
GIFTS = ["a {c1} scarf", "a {c1} kite", "a new book", "a little drum", "a {c1} hat", "a box of crayons", "a wooden boat", "a {c1} ball", "a puzzle",
         "a small lantern", "a {c1} blanket", "a toy train", "a music box", "a {c1} backpack"]
NOISES = [("a tapping noise", "a branch tapping on the window"), ("a scratching noise", "the cat scratching at the door"),
          ("a squeaking noise", "the garden gate moving in the wind"), ("a soft thump", "an apple that had dropped onto the roof"),
          ("a strange hooting noise", "an owl sitting in the tree"), ("a dripping noise", "water dripping into a bucket"),
          ("a rustling noise", "a hedgehog looking for food in the leaves"), ("a rattling noise", "the wind playing with an old can"),
          ("a humming noise", "{p} humming a song in the kitchen"), ("a bumping noise", "a boat bumping against the fence in the wind")]
TREASURES = ["a box full of {c1} marbles", "a box of old coins", "a bag of shiny stones", "a tin full of cookies", "a chest full of books",
             "a box of {c1} beads", "a little {c1} bell", "a jar full of honey candies", "a box of toys", "a wooden flute and a note"]
INSTRUMENTS = ["drum", "flute", "bell", "fiddle", "trumpet", "guitar", "horn", "harp", "whistle", "tambourine", "banjo"]

WORDS = {
    "little": "little|small|young|little|sweet|cheerful|curious|gentle|friendly|merry|clever|kind|quiet|playful",
    "glad": "happy|glad|very happy|so happy|full of joy|delighted|very glad", "sad": "sad|very sad|unhappy|so sad|close to tears",
    "scared": "scared|afraid|very scared|frightened|a bit afraid", "big": "big|large|huge|very big|great big", "nice": "nice|lovely|pretty|beautiful|fine",
    "ran": "ran|hurried|rushed|dashed", "walked": "walked|went|wandered|strolled", "smiled": "smiled|laughed|grinned|clapped|beamed",
    "soon": "Soon|After a while|A little later|Before long|Not long after|After some time", "then": "Then|Next|After that|Just then|At that moment",
    "sudden": "Suddenly|All of a sudden|Then, all at once|But then|Just then", "looked": "looked|searched|hunted|looked and looked",
    "play": "play outside|look at clouds|sing songs|pick flowers|run in the grass|hear stories|draw in the sand|play hide and seek|count the stars|"
            "jump in puddles|roll down hills|collect shiny stones|make new friends|watch the birds|dance|paint|build little houses out of sticks|"
            "look for bugs|help others|explore|tell jokes|whistle|dig in the sand|climb on rocks|make things out of leaves|listen to the rain",
    "loves": "loved|really loved|liked|loved nothing more than", "hard": "hard|as hard as {he} could|with all {his} might|very hard",
    "family": "{family}",
    "great": "great|wonderful|good|lovely|fine|splendid", "yes": "Yes|Of course|Sure|Oh yes|Yes, please", "ok": "All right|Okay|Very well|Good",
    "no": "Oh no|Oh dear|Oh my", "hooray": "Hooray|Yippee|Hurrah|Yay|We did it|Look", "thanks": "Thank you|Thank you so much|Thanks a lot|Oh, thank you",
    "hug": "gave {him} a [big|warm|long|tight] hug|hugged {him}|held {him} close|put an arm around {him}",
    "quick": "quickly|fast|as fast as {he} could|right away|at once", "slow": "slowly|carefully|step by step|very carefully|bit by bit",
    "feelg": "{feel}",
}
WORDS = {k: v.split("|") if "[" not in v else re.split(r"\|(?![^\[]*\])", v) for k, v in WORDS.items()}

INTRO_NAMED = [
    "Once upon a time, there was {h.intro}. {h.he} lived {town}[| with {his} <family>].", "Once upon a time, {h.intro} lived {town}.",
    "{h} was a <little> {h.kind}. {h.he} lived {town} and {likes}.", "{town} there lived {h.intro}. {h} {likes}.",
    "There once was {h.intro} who {likes}.", "[Long ago|A long time ago], {h.intro} lived {town}[| with {his} <family>].",
    "{h} lived {town}. {h.he} was a <little> {h.kind} who {likes}.", "Once there was {h.intro}. [Every day|Each morning], {h} went out to <play>.",
    "This is the story of {h.intro}[| who lived {town}].", "{h.full} lived {town}. {h.he} {likes}[| and {likes2}].",
    "Not so long ago, {h.intro} lived {town}. {h.he} {likes}.",
    "{h} was {age} years old. {he} was a <little> {h.kind} and lived {town}.", "There was a <little> {h.kind}, and {his} name was {h}. {he} {likes}.",
    "Do you know {h}? {he} is a <little> {h.kind}, and this is {his} story. {h} lived {town}.",
]
INTRO_PLAIN = [
    "Once upon a time, there was {h.intro}. {h.he} lived {town}.", "{town} there lived {h.intro}. {h.he} {likes}.",
    "Once there was {h.intro} who {likes}.", "[Long ago|A long time ago], {h.intro} lived {town}[| with {his} <family>].",
    "There was once {h.intro}. Everybody liked {him}, because {he} was so <little>.", "{h} lived {town}. {h.he} {likes}.",
    "Once upon a time, {h.intro} lived {town} and {likes}.",
]
FEEL = ["{h} felt {feel}.", "[Now|At last|In the end], {h} was {feel}.", "{h} was so {feel} that {he} [smiled all the way home|began to sing|danced a little dance|"
        "hopped up and down|could not stop smiling|told everybody about it].", "{h} smiled. {he} felt [very|so] {feel}.",
        "^{h} had never been so {feel}.", "How {feel} {h} was!",
        "\"I am so {feel},\" {h.said}.", "Nobody was as {feel} as {h} that day."]
END = {
    "friend": ["From that day on, {h} and {f} were [good|best|close] friends.", "{h} and {f} [played together|met] [every day|very often] after that.",
               "{h} learned that a [good|true] friend is [worth more than any toy|a great treasure|the best thing in the world].", "And they stayed friends [for a long, long time|forever].",
               "It is good to have a friend, and it is good to be one.", "Two are never lonely.",
               "{f} smiled at {h}, and {h} smiled at {f}. They both knew that they would always be friends."],
    "brave": ["{h} learned that being brave means [to try even when you are afraid|doing it even with shaking knees].", "After that, {h} was not [so |]afraid anymore.",
              "\"Brave people can be afraid too,\" {p.said}. \"They just [try anyway|take one small step].\"", "And from then on, everybody called {him} brave {h.call}.",
              "{h} knew now that a fear gets smaller when you look at it.", "That night, {h} slept well and had sweet dreams."],
    "honest": ["{h} learned that it is always best to tell the truth.", "From then on, {h} always told the truth, even when it was hard.", "The truth can be hard, but it makes the heart light.",
               "{h} [knew now|never forgot] that a lie [makes things worse|only grows], but the truth [helps|makes things better].",
               "\"Everyone makes mistakes,\" {p.said}. \"It is brave to say so.\""],
    "share": ["{h} learned that sharing makes [everyone happy|things better|good things even better].", "From then on, {h} liked to share.", "Good things are even better when we share them.",
              "They [ate|laughed|sat] together until the sun went down.", "{h} knew now that there is more joy in sharing than in keeping."],
    "try": ["{h} learned that you must try and try again.", "If you keep trying, you can learn [almost anything|new things].", "From then on, {h} never said \"I can't.\" {he} said, \"I can't yet.\"",
            "{h} did not give up, and that was why it worked.", "\"You did it because you did not give up,\" {p.said}.", "And the next day, {he} did it again, just for fun."],
    "help": ["{h} learned that it feels good to help.", "When we help each other, [hard|heavy] work becomes [easy|light].", "From then on, they always helped each other.",
             "{h} felt warm inside.", "Helping is a gift that costs nothing.", "{h} knew that a kind deed always comes back.", "And whenever somebody needed help, {h} was there."],
    "care": ["{h} learned to be more careful.", "{h} [listened better|was more careful|was a little wiser] after that.", "{h} promised to be more careful, and {he} was.",
             "After that, {h} [stopped to think first|always thought first].", "That was a day that {h} never forgot."],
    "patient": ["{h} learned that good things take time.", "Sometimes the best thing to do is wait.", "{h} was glad that {he} had waited.", "Good things come to those who can wait.",
                "From then on, {h} was much more patient."],
    "happy": ["{h} told the story again and again.", "And if you meet {h}, {he} will tell you all about it.", "\"What a good day,\" {h} thought before {he} fell asleep.",
              "The moon came up, and everyone went to bed.", "That night, the stars shone brightly, and {h} slept [well|soundly].", "The end.", "They talked about it for a long time.", "And that is the end of the story.",
              "\"Good night,\" {p.said}, and {h} closed {his} eyes.", "It was a day to remember.", "It was the best day [ever|of the year|of {his} life].", "They all lived happily ever after.", "And that night, {h} fell asleep with a smile.", "What a [lovely|wonderful|happy] day it had been!",
              "{h} would remember this day for a long time.", "When the stars came out, {h} was fast asleep, and {he} dreamed about it all again."],
}


# ---------------------------------------------------------------- the story state
class Who:
    """A character: name, sex, kind; its pronouns and ways to be named are attributes for the templates."""
    def __init__(self, rng, kind, sex, name=None, grown=False):
        self.kind, self.sex, self.named = kind, sex, bool(name)
        self.he, self.him, self.his, self.himself = ("he", "him", "his", "himself") if sex == "m" else ("she", "her", "her", "herself")
        adj = rng.choice(["little", "small", "young"])
        self.ref = name or f"the {adj} {kind}"
        self.call = name or f"little {kind}"
        self.the = f"the {kind}"
        self.intro = f"a {rng.choice(WORDS['little'])} {kind} named {name}" if name else f"a {adj} {kind}"
        self.full = f"{name} the {kind}" if name and kind not in ("girl", "boy") and not grown else self.ref
        self.home = ANIMALS[kind][0] if kind in ANIMALS else "house"
        self.can = ANIMALS[kind][3].replace("its", self.his) if kind in ANIMALS else ""
        self.unique = False

    def said(self, rng, how):
        verbs = {"said": ["said"], "asked": ["asked"],
                 "cried": ["cried", "shouted", "called", "yelled", "said"], "whispered": ["whispered", "said softly", "said quietly"]}[how]
        verb, roll = rng.choice(verbs), rng.random()
        if verb.startswith("said ") or (self.unique and roll < .35):
            return f"{self.he if self.unique else self.ref} {verb}"
        if roll < .75:
            return f"{verb} {self.ref}" + (rng.choice([" with a smile", " in a kind voice", " happily", ""]) if how == "smiled" else "")
        return f"{self.ref} {verb}"


def fix(text):
    """Capitals, a/an and spaces."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r'([.!?]")\.', r"\1", re.sub(r" ([.,!?])", r"\1", text))
    text = re.sub(r"\b([Aa]) (?=(?!one\b|use|uni)[aeiouAEIOU])", r"\1n ", text)
    text = re.sub(r"(^|[.!?] |[.]\" |(?:^| )\"|\^)\"?([a-z])", lambda m: m.group(0)[:-1] + m.group(2).upper(), text)
    return text.replace("^", "")


class Story:
    def __init__(self, rng, plot):
        self.rng, self.plot = rng, plot
        self.v, self.qa, self.themes, self.things, self.end, self.title = {}, [], [], [], "happy", None
        v, world, sexes = self.v, plot.world, ["m", "f"]
        if world == "both":
            world = "child" if rng.random() < .55 else "animal"
        self.world = world
        sex = rng.choice(sexes)
        other = sex if rng.random() < .25 else ("f" if sex == "m" else "m")
        names = {"m": rng.sample(BOYS, 4), "f": rng.sample(GIRLS, 4)}
        if world == "child":
            kid = {"m": "boy", "f": "girl"}
            h = Who(rng, kid[sex], sex, names[sex].pop())
            f = Who(rng, kid[other], other, names[other].pop())
            psex, title = rng.choice([("f", "Mom"), ("m", "Dad"), ("f", "Grandma"), ("m", "Grandpa"), ("f", "Mom"), ("m", "Dad"), ("f", "Mother")])
            p = Who(rng, "grown-up", psex, title, True)
            g = Who(rng, kid[other], other, names[other].pop())
        else:
            kinds = rng.sample(plot.kinds or list(ANIMALS), 1)
            kinds += rng.sample([k for k in (plot.fkinds or list(ANIMALS)) if k not in kinds], 2)
            h = Who(rng, kinds[0], sex, names[sex].pop() if rng.random() < .7 else None)
            f = Who(rng, kinds[1], other, names[other].pop() if rng.random() < .6 else None)
            psex, title = rng.choice([("f", "Mama"), ("m", "Papa"), ("f", "Grandma"), ("m", "Grandpa"), ("f", "Mother")])
            p = Who(rng, "grown-up", psex, f"{title} {kinds[0].capitalize()}", True)
            g = Who(rng, kinds[2], sex, None)
            f.ref, f.call = (f.ref, f.call) if f.named else (f"the {kinds[1]}", kinds[1].capitalize())
            g.ref, g.call = f"the {kinds[2]}", kinds[2].capitalize()
        for w in (f, g):
            if not w.named:
                w.intro, w.full = f"a {w.kind}", w.ref
        counts = [w.sex for w in (h, f, p, g)]
        for w in (h, f, p, g):
            w.unique = counts.count(w.sex) == 1
        v.update(h=h, f=f, p=p, g=g)
        v["c0"], v["c1"], v["c2"] = rng.sample(COLOURS, 3)
        v["town"] = rng.choice(HUMAN_TOWNS if world == "child" else WILD)
        v["where"] = rng.choice(OUT)
        base = p.ref.split()[0].lower()
        v["family"] = rng.choice([base, base] + ([f"{base} and little brother", f"{base} and big sister"] if base[0] != "g" else [f"{base} and parents"]))
        v["age"] = rng.choice(["four", "five", "six", "seven"])
        likes = rng.sample(WORDS["play"], 2)
        v["likes"], v["likes2"] = (rng.choice(["loved to ", "liked to ", "always liked to "]) + x for x in likes)
        v["feel"] = rng.choice(["happy", "proud", "glad", "thankful", "joyful"])
        self.weather(["sunny", "warm", "bright", "cloudy", "cool", "windy", "fine"])

    def weather(self, options):
        w, part = self.rng.choice(options), self.rng.choice(["morning", "afternoon", "day", "day"])
        self.v["weather"], self.v["part"] = w, part
        self.v["oneday"] = self.rng.choice(["One day", f"One {w} {part}", f"One {w} day", f"On a {w} {part}", "One " + (part if part != "day" else "morning"),
                                            f"One {w} day"])

    def pick(self, **lists):
        for key, items in lists.items():
            self.v[key] = self.expand(self.rng.choice(items)) if isinstance(items, (list, tuple)) else items

    def ask(self, *pairs):
        self.qa += pairs

    def expand(self, text):
        rng = self.rng
        while True:
            m = re.search(r"\[([^\[\]]*)\]", text)
            if m:
                text = text[:m.start()] + rng.choice(m.group(1).split("|")) + text[m.end():]
                continue
            m = re.search(r"<(\w+)>", text)
            if m:
                text = text[:m.start()] + rng.choice(WORDS[m.group(1)]) + text[m.end():]
                continue
            m = re.search(r"\{([\w.]+)\}", text)
            if not m:
                return text
            text = text[:m.start()] + self.value(m.group(1)) + text[m.end():]

    def value(self, key):
        if key in ("he", "him", "his", "himself"):
            key = "h." + key
        if key in self.v:
            x = self.v[key]
            return x.ref if isinstance(x, Who) else x
        who, attr = key.split(".")
        x = self.v[who]
        return x.said(self.rng, attr) if attr in ("said", "asked", "cried", "whispered") else getattr(x, attr)

    def tell(self):
        beats = self.plot.make(self)
        if self.rng.random() < .93 or not self.v["h"].named:
            beats = [INTRO_NAMED if self.v["h"].named else INTRO_PLAIN] + beats
        else:
            beats = ["{h.intro} was {where}."] + beats
        if self.v["feel"]:
            beats += [FEEL]
        out = []
        self.say(beats, out)
        here = " ".join(out)
        ends = {k: [x for x in v if ("{p." not in x or self.v["p"].ref in here) and ("hey" not in x or self.v["f"].ref.lower() in here.lower())] for k, v in END.items()}
        beats = [ends[self.end]] + (["?" + self.rng.choice(ends["happy"])] if self.end in ("friend", "brave", "share", "help", "try") else [])
        self.say(beats, out)
        self.present(out)
        paras, cur = [], []
        for i, b in enumerate(out):
            cur.append(b)
            if len(cur) >= 3 and self.rng.random() < .4 and i < len(out) - 2:
                paras.append(cur)
                cur = []
        paras.append(cur)
        if self.rng.random() < .4:
            return " ".join(out)
        return "\n\n".join(" ".join(p) for p in paras if p)

    def present(self, out):
        """The first mention of a friend says who it is."""
        for w in (self.v["f"], self.v["g"]):
            if any(w.intro in x for x in out):
                continue
            new = w.full if w.named else w.intro
            if self.world == "child" and self.v["family"] and not self.plot.stranger and self.rng.random() < .6:
                new = f"{self.v['h'].his} friend {w.ref}"
            for i, x in enumerate(out):
                m = next((m for m in re.finditer(rf"\b{w.ref}\b", x, re.I) if x[:m.start()].count('"') % 2 == 0), None)
                if m and re.search(r"(and|friend) $", x[:m.start()]) and new.startswith(self.v["h"].his + " "):
                    break
                if m:
                    out[i] = fix(x[:m.start()] + new + x[m.end():])
                    break

    def say(self, beats, out):
        for beat in beats:
            if isinstance(beat, mix):
                self.say(self.rng.sample(beat.items, len(beat.items)), out)
                continue
            if isinstance(beat, list):
                beat = self.rng.choice(beat)
            if beat.startswith("?"):
                if self.rng.random() < .45:
                    continue
                beat = beat[1:]
            text = fix(self.expand(beat))
            if text and text not in out:
                out.append(text)


class mix:
    """Beats told in any order."""
    def __init__(self, *items):
        self.items = list(items)


class Plot:
    def __init__(self, make, world, kinds, fkinds):
        self.make, self.world, self.kinds, self.fkinds = make, world, kinds, fkinds
        self.stranger = make.__name__ in ("shy_friend", "lost_pet", "jealous", "first_school", "moving", "wallet")


PLOTS = []


def plot(world="both", kinds=None, fkinds=None):
    def add(make):
        PLOTS.append(Plot(make, world, kinds, fkinds))
        return make
    return add


# ---------------------------------------------------------------- plots
@plot()
def lost_toy(s):
    s.pick(toy=TOYS, hide=HIDES)
    s.v["it"] = "{c1} {toy}"
    s.end, s.themes, s.things = "friend", ["a lost {toy}", "someone who loses a {toy}", "finding a lost toy"], ["{toy}"]
    s.ask(("What did {h} lose?", "{h} lost {his} {it}."), ("Where was the {toy}?", "It was {hide}."), ("Who helped {h} look for the {toy}?", "{f} helped {h}."),
          ("What color was the {toy}?", "The {toy} was {c1}."))
    return [["{h} had a {it}. {he} took it everywhere.", "{his} favorite toy was a {it}.", "{h}'s best toy was a {it}. {he} [played with it every day|never went out without it].",
             "For {his} birthday, {h} had got a {it}, and {he} loved it."],
            ["{oneday}, the {toy} was gone.", "{oneday}, {h} could not find the {toy}[| anywhere].", "But {oneday}, {h} looked for {his} {toy}, and it was not there."],
            ["\"<no>! Where is my {toy}?\" {h.cried}.", "\"My {toy} is gone!\" {h.cried}.", "{h} was <sad>. \"I have lost my {toy},\" {h.said}.", "{h} began to cry. {he} wanted {his} {toy} back."],
            mix("{he} <looked> [in {his} bed|under {his} blanket|in the big box], but it was not there.", "?{he} <looked> [behind the door|in the basket|under the old mat], but there was no {toy}.",
                "?{h} asked {p}. {p} had not seen it[| either]."),
            ["{f} [came by|heard {him}|saw {his} sad face]. \"[Why are you sad|What is wrong|What happened], {h.call}?\" {f.asked}.", "<then> {f} came to [play|visit]. \"You look sad,\" {f.said}. \"What happened?\""],
            ["\"I [can't find|have lost] my {it},\" {h.said}.", "{h} told {f} all about the {toy}."],
            ["\"[Don't worry|Don't be sad|Dry your tears]. [Let's|We will] look for it together,\" {f.said}.", "\"I will help you,\" {f.said}. \"Four eyes see more than two.\""],
            ["\"Where did you play with it [last|yesterday]?\" {f.asked}. \"Outside,\" {h.said}. So they [went out|<ran> outside].", "They went outside and looked [left and right|everywhere|high and low]."],
            ["<sudden>, {f} saw something {c1} {hide}.", "<soon>, {h} saw something {c1}. It was {hide}.", "{f} pointed. Something {c1} was lying {hide}."],
            ["It was the {toy}! \"<hooray>!\" {h.cried}.", "\"[There it is|I see it]!\" {f.cried}. It was the {toy}."],
            ["{h} [hugged|picked up] the {toy}[| and laughed]. \"<thanks>, {f.call}!\" {he} said.", "\"<thanks> for your help, {f.call},\" {h.said}."],
            "?[Then they played with the {toy} together.|{h} let {f} play with the {toy} first.|They played until it was time to go home.]"]


@plot()
def sharing(s):
    s.pick(food=SNACKS)
    s.end, s.themes, s.things = "share", ["sharing {food}", "someone who does not want to share", "a {h.kind} who learns to share"], ["basket of {food}"]
    s.ask(("What did {h} have?", "{h} had a basket of {food}."), ("Who was hungry?", "{f} was hungry."), ("What did {h} learn?", "{h} learned to share."))
    return [["{oneday}, {p} gave {h} a basket of {food}.", "{oneday}, {h} had a [whole |big |]basket of {food}."],
            ["The {food} [looked|smelled] so good! \"These are all for me,\" {h.said}.", "\"All of these {food} are mine,\" {he} [thought|said]. \"[Mine alone|I will eat them all].\""],
            ["{h} sat down {where} and began to eat.", "{he} went out and sat down {where}."],
            ["<soon> {f} came along. \"Those {food} look good,\" {f.said}. \"May I have [one|some]? I am so hungry.\"", "<then> {f} walked by. {f.he} had had no breakfast. \"May I have some of your {food}?\" {f.asked}."],
            ["\"No,\" {h.said}. \"They are mine.\"", "{h} [shook {his} head|held the basket tight]. \"No, I want them all,\" {he} said."],
            ["{f} looked [down|at the ground] and [walked|went] away [sadly|without a word].", "{f} was <sad> and went away."],
            ["{h} ate one, and then another. But [they did not taste good anymore|it was no fun to eat alone|{his} tummy felt bad].", "Now {h} was all alone. [The {food} did not taste so good now|Eating alone was no fun]."],
            ["{he} thought of {f}'s sad face.", "\"{f.call} was so hungry,\" {he} thought. \"I was not kind.\"", "\"[Maybe|I think] I was [mean|unkind],\" {he} thought."],
            ["So {h} [took|picked up] the basket and <ran> after {f}.", "{h} jumped up and <ran> to find {f}."],
            ["\"I am sorry, {f.call},\" {h.said}. \"[Let's share|Half of these are for you|Come and eat with me].\"", "\"Wait, {f.call}! Please have some {food},\" {h.said}. \"I am sorry that I said no.\""],
            ["{f} <smiled>. \"<thanks>!\" {f.he} said.", "\"<thanks>, {h.call}!\" {f.said}, and {f.he} <smiled>."],
            ["They sat side by side and ate the {food} together. Now they tasted [sweet|wonderful|much better].", "They ate together and [talked and laughed|told funny stories]. The {food} had never tasted so good."]]


@plot()
def storm(s):
    s.weather(["gray", "windy", "cloudy", "hot"])
    s.pick(warm=["a warm blanket", "a small lamp", "a candle", "a soft pillow"])
    s.end, s.themes = "brave", ["a big storm", "someone who is afraid of thunder", "a stormy night"]
    s.ask(("What was {h} afraid of?", "{h} was afraid of the thunder."), ("Who helped {h}?", "{p} helped {h}."), ("What did they do when the thunder came?", "They counted together."))
    return [["{oneday}, dark clouds [came|rolled] over the sky.", "{oneday}, the sky turned [dark|black|gray] and the wind began to blow."],
            ["First came a few drops of rain. Then it rained very hard.", "The rain fell on the roof, [drip, drop|plip, plop], and then harder and harder.", "The wind shook the trees and the rain came down."],
            ["BOOM! ^[The thunder was very loud|There was a loud clap of thunder].", "<sudden>, there was a flash of light and a loud BOOM."],
            ["{h} was <scared>. {he} hid under {his} blanket.", "{h} [shook|trembled] and [covered|held] {his} ears.", "\"I don't like this!\" {h.cried}. {he} ran to {his} bed and hid."],
            ["{p} came in with {warm}. \"Are you [afraid|scared], {h.call}?\" {p.asked}.", "{p} sat down next to {h} with {warm}. \"It is only thunder,\" {p.said}."],
            ["\"Yes,\" {h.said} [in a small voice|quietly]. \"It is so loud.\"", "{h} nodded. \"Will the storm come in?\" {he} asked."],
            ["\"[The storm is outside, and we are inside|Our home is strong and dry]. [Let's|We can] play a game,\" {p.said}. \"When you see the flash, start to count.\"",
             "\"We are safe here,\" {p.said}. \"Let us count after each flash. The more we can count, the farther away the storm is.\""],
            ["There was a flash. \"One, two, three,\" they counted. Boom!", "Flash! ^{h} counted, \"One, two, three, four.\" Then came the thunder."],
            ["The next time, they counted to [six|seven|eight]. \"It is going away!\" {h.cried}.", "Each time, {h} could count a little more. \"The storm is moving away,\" {p.said}."],
            ["?Soon {h} was not [shaking|hiding] anymore. {he} even [laughed|smiled] a little."],
            ["At last, the rain stopped[ and the sun came out|]. [A rainbow stood in the sky|The air smelled fresh and clean|Everything was wet and shiny].", "When the storm was over, they looked outside. [There was a big rainbow|The leaves were shining|There were puddles everywhere]."],
            ["\"Look, it is over,\" {p.said}. \"And you were so brave.\"", "\"I counted the storm away!\" {h.said}.", "\"Next time I will count again,\" {h.said}."]]


@plot("child")
def ride_bike(s):
    s.pick(thing=["bike", "scooter", "pony"], )
    t = s.v["thing"]
    s.v["bumped"] = {"bike": "the bike tipped over", "scooter": "the scooter rolled away", "pony": "{he} slid off into the soft grass"}[t]
    s.end, s.themes, s.things = "try", ["learning to ride a {thing}", "someone who does not give up", "a {h.kind} and a {c1} {thing}" if t != "pony" else "a {h.kind} and a pony"], ["{thing}"]
    s.v["newt"] = f"{{c1}} {t}" if t != "pony" else "gentle pony"
    s.ask(("What did {h} learn?", "{h} learned to ride a {thing}."), ("Who helped {h}?", "{p} helped {h}."))
    return [["{oneday}, {h} got to ride a {newt} for the first time.", "{h} wanted to learn to ride a {thing}. {oneday}, {p} said, \"Today is the day.\" There stood a {newt}."],
            ["\"[It looks|That looks] hard,\" {h.said}.", "{h} was <glad>, but {he} was a little afraid too.", "\"Will I fall?\" {h.asked}."],
            ["\"I will hold you,\" {p.said}. \"[Look ahead and keep going|Sit up and look ahead].\"", "\"Everybody falls at first,\" {p.said}. \"But I will be right here.\""],
            ["{h} climbed on. [One, two, three|Slowly], {he} began to move.", "{he} put on {his} {c2} helmet and got on."],
            ["But then {bumped}. [Ouch|Bump|Oops]!", "{he} went a little way, and then {bumped}."],
            ["{h} had [a scratch on {his} knee|dirt on {his} nose|a tear in {his} eye]. \"I can't do it,\" {h.said}.", "\"This is too hard!\" {h.cried}. {he} wanted to [stop|go home]."],
            ["\"You went farther than I thought,\" {p.said}. \"[Try once more|Let us try again|One more time]?\"", "{p} <hug>. \"Try again,\" {p.said}. \"Each time it gets easier.\""],
            ["{h} [took a deep breath|dried {his} tears|nodded]. {he} tried again, and again, and again.", "So {h} tried again. This time {he} went [as far as the gate|all the way to the tree]."],
            ["?{f} stood by the fence and [clapped|cheered]. \"Go, {h}, go!\""],
            ["<then> {h} looked back. {p} was not holding {him} anymore! {he} was riding all alone.", "\"I let go a long time ago!\" {p.cried}. ^{h} was riding all by {himself}."],
            ["\"I can do it! I can ride a {thing}!\" {h.cried}.", "\"Look at me!\" {h.cried}. The wind blew in {his} face.", "{h} laughed out loud. {he} rode [around and around|all around the yard]."],
            ["?\"I knew you could,\" {p.said}."]]


@plot("both", kinds=LAND, fkinds=["frog", "duck", "otter", "turtle", "goose", "beaver"])
def swim(s):
    s.weather(["hot", "warm", "sunny"])
    s.pick(water=["pond", "lake", "river"])
    s.end, s.themes = "brave", ["learning to swim", "someone who is afraid of water", "a {h.kind} who learns to swim"]
    s.ask(("What was {h} afraid of?", "{h} was afraid of the water."), ("Who taught {h} to swim?", "{f} taught {h} to swim."), ("Where did {h} learn to swim?", "{h} learned to swim in the {water}."))
    return [["{oneday}, {h} went to the {water} with {p}.", "{oneday}, everybody went to the {water} to cool down."],
            ["{f} was [already |]in the water. {f.he} could swim very well.", "{f} swam [around and around|up and down] and had a lot of fun."],
            ["\"Come in, {h.call}! The water is [nice|warm|lovely],\" {f.said}.", "\"Jump in!\" {f.cried}. \"It is so much fun!\""],
            ["But {h} stayed [on the grass|on the bank|by the edge]. {he} was <scared>.", "{h} looked at the deep water and took a step back. \"[No, thank you|Not today],\" {h.said}."],
            ["\"[Can't you swim|Are you afraid|Don't you like the water]?\" {f.asked}. ^{h} looked at {his} feet. \"I never learned it,\" {he} said.", "\"I can't swim,\" {h.said}. \"[What if I sink|The water is so deep]?\""],
            ["{f} did not laugh at {him}. \"I will teach you,\" {f.said}. \"We will start where it is not deep.\"", "\"I was afraid at first too,\" {f.said}. \"[Let me help|Take it slowly].\""],
            ["First, {h} put in [one foot|one toe]. It was [cold|cool], but nice.", "<slow>, {h} went in. The water came up to {his} [knees|tummy]."],
            ["Then {f} showed {him} how to [kick|move in the water]. Splash, splash!", "\"Now kick,\" {f.said}. ^{h} kicked and kicked. [Water flew everywhere|Splash, splash, splash]!"],
            ["?Water got into {h}'s nose, and {he} coughed. But {he} did not give up.", "?{p} stood close by and watched. \"Very good,\" {p.said}."],
            ["They tried [again and again|all afternoon|many times]. And then {h} let go and swam!", "<sudden>, {h} was not standing anymore. {he} was swimming!"],
            ["\"I am swimming!\" {h.cried}.", "\"<hooray>! Look at me!\" {h.cried}.", "\"You can swim!\" {f.cried}."],
            ["?Together they swam to [a big leaf|a flat stone|the other side] and back."]]


@plot()
def mend(s):
    thing, part, how = s.rng.choice(MENDABLE)
    s.v.update(thing=thing, bit=part, how=how)
    s.pick(tool=["some string", "a little glue", "a hammer and a nail", "needle and thread"])
    if part in ("sail", "arm", "rope"):
        s.v["tool"] = "needle and thread" if part != "rope" else "some strong string"
    elif "needle" in s.v["tool"]:
        s.v["tool"] = "a little glue"
    s.end, s.themes, s.things = "help", ["a broken {thing}", "mending something", "fixing a {thing}"], ["{thing}"]
    s.ask(("What was broken?", "The {thing} was broken."), ("Who fixed the {thing}?", "{h} and {f} fixed it together."), ("What did they use to fix it?", "They used {tool}."))
    return [["{p} had [an old|a] {c1} {thing} that everybody liked.", "{h} and {f} liked to play with the {c1} {thing}.", "At home there was a {c1} {thing}. It was very old."],
            ["{oneday}, the {bit} {how}. [Crack|Snap|Oh dear]!", "{oneday}, there was a loud crack. The {bit} of the {thing} {how}."],
            ["\"<no>!\" {h.cried}. \"[It is broken|The {thing} is broken]!\"", "{h} looked at the {thing} with big eyes. \"It is broken,\" {h.said}."],
            ["\"We have to throw it away,\" {f.said} [sadly|].", "\"Now it is good for nothing,\" {f.said}.", "?{f} was <sad> and wanted to cry."],
            ["\"No, wait,\" {h.said}. \"[Maybe we can mend it|I think we can fix it].\"", "But {h} had an idea. \"We can fix it,\" {he} said."],
            ["{h} went to {p}. \"Do you have {tool}?\" {he} asked.", "They looked in the [big box|shed|old drawer] and found {tool}."],
            ["?\"[Here you are|Take this],\" {p.said}. \"But be careful.\"", "?\"That is just what we need,\" {f.said}."],
            ["{f} held the {thing}, and {h} worked <slow>.", "{h} held the {bit} in place while {f} worked with {tool}."],
            ["It was not easy. The first time, the {bit} came off again.", "At first it did not work. \"Let us try once more,\" {h.said}.", "?It took a long time. They had to be very careful."],
            ["At last, it was done. The {thing} was [as good as new|whole again|even better than before].", "<soon>, the {thing} was whole again. \"<hooray>!\" {f.cried}."],
            ["{p} came to look. \"You fixed it all by yourselves!\" {p.said}.", "\"What good work!\" {p.said}. \"I am proud of you both.\""],
            ["?\"We are a good team,\" {f.said}."]]


@plot()
def shy_friend(s):
    s.pick(game=["hide and seek", "catch", "tag", "a jumping game", "a counting game"], toy=TOYS)
    s.end, s.themes = "friend", ["a shy new friend", "making a new friend", "someone who is new in town"]
    s.ask(("Who was shy?", "{f} was shy."), ("What did they play?", "They played {game}."), ("Who was new?", "{f} was new."))
    return [["{oneday}, a new family came to live nearby. They had a <little> {f.kind}" + (" named {f}." if s.v["f"].named else "."), "{oneday}, {h} saw {f.intro} {where}. {h.he} had never seen {f.him} before."],
            ["{f} [stood|sat] all alone and looked at the ground.", "{f} hid behind [a tree|a bush|the fence] and did not say a word."],
            ["\"Hello! [I am {h.call}|Who are you|What is your name]?\" {h.said}.".replace("[I am {h.call}|", "["), "{h} waved. \"Hello! Do you want to play?\" {he} asked."],
            ["But {f} only [shook {f.his} head|turned red|looked away].", "{f} did not answer. {f.he} took a step back."],
            ["\"Why won't {f} talk to me?\" {h} asked {p}.", "{h} went to {p}. \"I said hello, but {f} did not say anything,\" {h.said}."],
            ["\"Maybe {f} is shy,\" {p.said}. \"[Be kind and give {f.him} time|Some friends need a little time].\"", "\"[Everything is new for {f}|It is hard to be new],\" {p.said}. \"Try again, but gently.\""],
            ["The next day, {h} came back with a {c1} {toy}. {he} sat down not too far away and began to play.", "So {h} took {his} {c1} {toy} and sat down near {f}. {he} did not say anything."],
            ["<soon>, {f} came a little closer. And then a little closer.", "{f} watched. Then {f.he} took one small step, and then another."],
            ["\"That is a nice {toy},\" {f.whispered}.", "\"May I hold it?\" {f.whispered}."],
            ["\"You can play with it too,\" {h.said}, and {he} gave {f} the {toy}.", "{h} <smiled>. \"Here, take it,\" {he} said."],
            ["{f} <smiled> for the first time. \"<thanks>,\" {f.he} said.", "Now {f} was not so shy anymore. They began to talk."],
            ["After that, they played {game}. {f} laughed and laughed.", "They played {game} until the sun went down."]]


@plot("animal", fkinds=["rabbit", "horse", "deer", "fox", "dog", "wolf", "tiger"], kinds=["turtle", "snail", "hedgehog", "mole", "duck", "pig", "bear", "hen", "panda"])
def race(s):
    s.pick(goal=["the old oak tree", "the big rock", "the bridge", "the red gate", "the top of the hill", "the pond"], distract=["stopped to eat some berries", "lay down under a tree to take a nap", "stopped to look at {f.himself} in a puddle", "stopped to talk with a butterfly", "sat down to rest in the shade"])
    s.end, s.themes = "try", ["a race", "a slow {h.kind} who wins a race", "a race between a {h.kind} and a {f.kind}"]
    s.ask(("Who won the race?", "{h} won the race."), ("Where did the race end?", "The race ended at {goal}."), ("What did {f} do during the race?", "{f} {distract}."))
    return [["{f} was very fast and [talked about it all day|told everybody so].", "Nearby lived {f.intro}. {f.he} could run faster than anyone."],
            ["\"You are so slow,\" {f} said to {h}. \"[Even a leaf is faster|You will never win a race].\"", "{oneday}, {f} laughed at {h}. \"How slow you are!\" {f.he} said."],
            ["{h} was [hurt|sad], but {he} did not get angry. \"Let us have a race,\" {he} said.", "\"I may be slow,\" {h.said}, \"but I never give up. Let's race.\"".replace(", \"but", ". \"But")],
            ["All the animals came to watch. The race went from the fence to {goal}.", "\"We will run to {goal},\" {f.said}. All the animals came to see."],
            ["\"Ready, set, go!\" called {g}.", "\"One, two, three, go!\" {g.cried}."],
            ["{f} ran off like the wind. {h} went step by step.", "Off they went! {f} was soon far ahead. {h} was far behind."],
            ["\"I have so much time,\" thought {f}. So {f.he} {distract}.", "{f} looked back and could not see {h}. \"I have won already,\" {f.he} thought, and {f.he} {distract}."],
            ["But {h} did not stop. {he} went on and on.", "All this time, {h} kept going. \"One more step,\" {he} said to {himself}. \"And one more step.\""],
            ["?{his} feet hurt, and it was hot. Still, {he} went on.", "?\"Go, {h.call}, go!\" the animals [cried|called]."],
            ["When {f} looked up, {h} was almost at {goal}!", "<sudden>, {f} heard the animals cheer. {h} was almost at {goal}!"],
            ["{f} jumped up and ran, but it was too late. {h} had won!", "{f} ran as fast as {f.he} could. But {h} got there first."],
            ["\"I am sorry that I laughed at you,\" {f.said}. \"You are a great runner.\"", "{f} hung {f.his} head. \"You won,\" {f.he} said. \"I will not laugh at you again.\""]]


@plot()
def cake(s):
    s.pick(cake=CAKES, missing=["eggs", "flour", "milk", "sugar", "butter", "honey"])
    s.end, s.themes, s.things = "help", ["baking a {cake}", "a cake", "a surprise cake"], ["cake"]
    s.ask(("What did {h} bake?", "{h} baked a {cake}."), ("What did {h} not have?", "{h} had no {missing}."), ("Who gave {h} the {missing}?", "{f} gave {him} some {missing}."), ("Who was the cake for?", "The cake was for {p}."))
    return [["{oneday}, {h} wanted to [surprise {p} with|bake] a {cake}[| for {p}].".replace("[surprise {p} with|bake] a {cake}[| for {p}]", "bake a {cake} for {p}"), "{p} was [tired|not feeling well|a little sad]. \"I will bake a {cake} for {p.him},\" {h.said}."],
            ["{he} took out a [big|blue|round] bowl and a [long|wooden] spoon.", "{he} washed {his} hands and got a bowl and a spoon."],
            ["But {he} had no {missing}! \"<no>,\" {h.said}. \"I can't bake a cake without {missing}.\"", "{he} looked for {missing}, but {he} could not find any. \"What now?\" {he} asked."],
            ["So {he} went to see {f} next door.", "{h} <ran> to {f}."],
            ["\"Do you have some {missing}?\" {h.asked}.", "\"Please, {f.call}, may I have some {missing}?\" {h.asked}."],
            ["\"Yes, here you are,\" {f.said}. \"May I help you bake?\"", "\"Of course,\" {f.said}. \"But I want to help!\""],
            ["Back home, they [mixed|stirred] everything in the bowl. [Stir, stir, stir|Around and around went the spoon]!", "They put everything into the bowl. {f} stirred, and {h} sang a little song."],
            ["?Some flour landed on {f}'s nose, and they both laughed.", "?\"Can I lick the spoon?\" {f.asked}. They both did."],
            ["Then the cake went into the oven. [A big helper|A grown-up neighbor] took care of the heat.", "They put the cake into the oven and waited. [It smelled so good|What a good smell]!"],
            ["?\"Is it ready now?\" {f.asked}. \"Not yet,\" {h.said}."],
            ["When the cake was done, they put [berries|nuts|cream|a little flower] on top.", "At last, the cake was ready. It was [golden|big and round|soft and sweet]."],
            ["{p} came in. \"A {cake}! For me?\" {p.he} asked.", "\"Surprise!\" they cried when {p} came in."],
            ["{p} ate a [big |]piece. \"[This is the best cake in the world|It is wonderful],\" {p.said}.", "They all sat down and ate the {cake}. There were only a few crumbs left."]]


@plot()
def seed(s):
    plant, sort = s.rng.choice(PLANTS)
    s.v.update(plant=plant, sort=sort)
    s.v["fruit"] = {"flower": "a beautiful flower opened", "plant": "it was full and green and strong", "tree": "it was a fine little tree with green leaves"}[sort]
    s.end, s.themes, s.things = "patient", ["planting a seed", "a seed that grows", "waiting for a {plant} to grow"], ["seed"]
    s.ask(("What did {h} plant?", "{h} planted a seed."), ("What grew from the seed?", "A {plant} grew from the seed."), ("What did {h} do every day?", "{h} watered the seed every day."))
    return [["{oneday}, {p} gave {h} a [tiny|little|small] seed.", "{oneday}, {h} found a little seed {where}."],
            ["\"What [is it|will it be]?\" {h.asked}. \"[Plant it and you will see|Put it in the ground and wait],\" {p.said}.", "\"If you plant it, something will grow,\" {p.said}."],
            ["{h} dug a [small |little |]hole, put in the seed, and covered it with [soft |brown |]earth.", "{he} found a sunny spot, made a hole, and laid the seed into it."],
            ["Then {he} gave it some water.", "{he} watered it with {his} {c1} watering can."],
            ["The next morning, {h} ran out to look. There was nothing.", "\"Grow, little seed!\" {h.said}. But nothing happened."],
            ["Every day {h} watered the seed. [Every day {he} looked|And every day {he} waited]. [Still nothing|Nothing came up].", "One day went by, and another, and another. {h} watered the seed each morning, but there was only brown earth."],
            ["\"Maybe it is [asleep|a bad seed],\" {f.said}. \"Let's dig it up and see.\"", "\"It will never grow,\" {h.said}. {he} wanted to dig it up."],
            ["\"No,\" {p.said}. \"[A seed needs time|It works under the ground where we can't see it]. [Be patient|Wait a little longer].\"", "But {p} shook {p.his} head. \"Seeds are slow,\" {p.said}. \"Give it sun, water, and time.\""],
            ["?So {h} waited. Rain fell and the sun shone.", "?{h} sang to the seed so that it would not be lonely."],
            ["Then, one morning, there was a [tiny |small ]green leaf!", "One fine morning, something small and green looked out of the ground."],
            ["\"It is growing!\" {h.cried}.", "{h} [jumped|danced] with joy. \"Come and see!\" {h.cried}."],
            ["The plant grew and grew. In the end, {fruit}. It was a {plant}!", "Week after week it got bigger, and one day {fruit}. \"It is a {plant}!\" {h.said}."]]


@plot("child")
def lost_pet(s):
    s.pick(pet=PETS, hide=["under a bush", "by the side of the road", "behind the fence", "near the old well", "under the bridge", "in the tall grass", "next to the school"])
    s.v["owner"] = s.v["f"].ref
    s.end, s.themes, s.things = "friend", ["a lost {pet}", "bringing a lost animal home", "a {h.kind} who finds a {pet}"], ["{pet}"]
    s.ask(("What animal did {h} find?", "{h} found a {pet}."), ("Where was the {pet}?", "It was {hide}."), ("Whose {pet} was it?", "It was {f}'s {pet}."))
    return [["{oneday}, {h} heard a soft cry. {he} looked, and there was a little {c1x} {pet} {hide}.".replace("{c1x} ", ""), "{oneday}, {h} was on {his} way home when {he} saw a little {pet} {hide}."],
            ["It was [wet|cold|tired|hungry] and all alone.", "The {pet} looked [cold|lost|sad] and a bit scared."],
            ["\"Are you lost, little one?\" {h.asked}.", "\"You poor thing,\" {h.said}. \"Where is your home?\""],
            ["{h} [sat down|held out {his} hand] and waited. <slow>, the {pet} came to {him}.", "{he} spoke softly so that the {pet} would not be afraid."],
            ["?{he} wrapped it in {his} {c2} scarf to keep it warm.", "?{he} gave it some water, and it drank and drank."],
            ["{h} took the {pet} home. \"May I keep it?\" {he} asked {p}.", "At home, {h} showed the {pet} to {p}. \"Can it stay with us?\" {h.asked}."],
            ["\"Somebody may be missing it,\" {p.said}. \"Let's find out.\"", "\"It has a {c1} ribbon around its neck,\" {p.said}. \"So it belongs to somebody.\""],
            ["{h} was a little sad, but {he} knew that {p} was right.", "{h} wanted to keep it very much. But {he} thought, \"Somebody must be crying now.\""],
            ["They [went from door to door|asked everyone in the street|put up a sign].", "So they walked through the streets and asked everyone they met."],
            ["At the last house, {f} opened the door. {f.he} had been crying. \"My {pet}!\" {f.cried}.", "<soon>, {f} came running. \"That is my {pet}!\" {f.cried}. \"I looked for it all day!\""],
            ["The {pet} jumped into {f}'s arms.", "The {pet} was so happy to see {f}."],
            ["\"<thanks>, {h.call}!\" {f.said}. \"You can come and play with us every day.\"", "\"You brought it home,\" {f.said}. \"Please come and visit us whenever you like.\""]]


@plot()
def broken_confessed(s):
    s.weather(["rainy", "wet", "gray"])
    s.pick(thing=BREAKABLE, toy=["ball", "hoop", "toy plane"])
    s.v["owner"] = s.v["p"].ref
    s.end, s.themes, s.things = "honest", ["a broken {thing}", "telling the truth", "someone who breaks a {thing} and says so"], ["{thing}"]
    s.ask(("What did {h} break?", "{h} broke the {thing}."), ("Did {h} tell the truth?", "Yes, {h} told the truth."), ("What was {h} playing with?", "{h} was playing with a {toy}."))
    return [["{oneday}, {h} was playing with {his} {c1} {toy} inside.", "{oneday}, it was too wet to go out, so {h} played with {his} {c1} {toy} in the house."],
            ["?\"Do not throw things in the house,\" {p} had said. But {h} forgot.", "{he} threw the {toy} up high, [again and again|higher and higher]."],
            ["Crash! The {toy} hit {p}'s {thing}.", "The {toy} flew across the room and hit the {thing} that {p} loved. Crash!"],
            ["The {thing} was broken. {h} stood very still.", "Now the {thing} was in pieces. {h}'s heart beat fast."],
            ["\"What should I do?\" {he} thought. \"[{p} will be so angry|Nobody saw me|I could hide the pieces].\"", "\"I could say that the wind did it,\" {he} thought."],
            ["{he} hid in {his} room, but {he} felt [bad|worse and worse]. {his} tummy hurt.", "{he} sat down in a corner. {he} did not feel like playing anymore."],
            ["Then {p} came home. \"What happened to my {thing}?\" {p.he} asked.", "<soon>, {p} saw the {thing}. \"Who broke it?\" {p.asked}."],
            ["{h} took a deep breath. \"It was me,\" {he} said. \"I threw my {toy}. I am so sorry.\"", "{h} looked down. \"I did it,\" {h.said}. \"I am very sorry.\" A tear ran down {his} cheek."],
            ["{p} was quiet for a moment. Then {p.he} <hug>.", "{p} sat down next to {him}."],
            ["\"I am sad about the {thing},\" {p.said}. \"But I am [glad|proud] that you told me the truth.\"", "\"A {thing} is only a thing,\" {p.said}. \"Your honest heart is worth much more.\""],
            ["Together they swept up the pieces. {p} carried the sharp ones.", "They cleaned up together.", "?\"Next time I will play outside,\" {h.said}."]]


@plot()
def birthday(s):
    s.pick(gift=GIFTS, place=["in the garden", "under the big tree", "by the pond", "in the yard", "in the kitchen"])
    s.v["feel"] = s.rng.choice(["happy", "thankful", "joyful"])
    s.end, s.themes, s.things = "happy", ["a birthday", "a birthday surprise", "a birthday party"], ["birthday present"]
    s.ask(("What day was it?", "It was {h}'s birthday."), ("What did {f} give {h}?", "{f} gave {h} {gift}."), ("Where was the party?", "The party was {place}."))
    return [["{oneday}, {h} woke up early. It was {his} birthday!", "It was {h}'s birthday. {he} jumped out of bed.", "\"Today is my birthday!\" {h} said when {he} woke up."],
            ["{he} ran to {p}. But {p} [only said, \"Good morning.\"|was very busy and did not say anything about it].", "But nobody said \"Happy birthday.\" {p} was busy and said only, \"Good morning, {h.call}.\""],
            ["So {h} went to see {f}. \"Do you know what day it is?\" {he} asked. \"Yes, it is a {weather} day,\" said {f}, and {f.he} ran off.", "{h} met {f}, but {f} said, \"I have no time today,\" and hurried away."],
            ["?Even {g} did not stop to talk."],
            ["\"Everybody forgot my birthday,\" {h} thought. {he} was <sad>.", "{h} sat down {where}. \"[Nobody thinks of me|They all forgot],\" {he} said. A tear fell from {his} eye."],
            ["[When it got late|In the evening|When the sun was low], {he} walked home <slow>.", "After a long time, {h} went home with {his} head down."],
            ["But what was that? There were [lights|lanterns|{c1} balloons] {place}!", "<sudden>, {he} heard whispers {place}."],
            ["\"Surprise! Happy birthday!\" everybody shouted.", "\"Happy birthday, {h.call}!\" cried {p} and {f} and all the others."],
            ["There was a big [cake with candles|birthday cake], and there was music too.", "There was a cake, and there were flowers and games."],
            ["{f} gave {him} {gift}. \"[I made you wait|I had to keep it secret],\" {f.he} said.", "\"This is for you,\" {f.said}, and {f.he} gave {him} {gift}."],
            ["\"You did not forget me!\" {h.said}. \"[How could we|We never would]?\" {p.asked}.".replace("[How could we|We never would]?", "How could we?"), "\"I thought that you all forgot,\" {h.said}. \"We would never forget you,\" {p.said}."],
            ["?They danced and [sang|played] until the moon was high.", "?{h} blew out the candles and made a wish."]]


@plot()
def jealous(s):
    s.pick(toy=TOYS)
    s.end, s.themes, s.things = "friend", ["being jealous", "two friends who fight and make up", "saying sorry"], ["{toy}"]
    s.ask(("What did {f} get?", "{f} got a new {c1} {toy}."), ("What did {h} do with the {toy}?", "{h} hid it."), ("Did {h} say sorry?", "Yes, {h} said that {he} was sorry."))
    return [["{h} and {f} were friends. {oneday}, {f} got a new {c1} {toy}.", "{oneday}, {f} came to {h} with a new {c1} {toy}."],
            ["\"Look what I have got!\" {f.said}.", "{f} showed it to everyone, and everyone said, \"How nice!\""],
            ["{h} looked at it. {he} wanted one too. {his} tummy felt [hot|tight].", "{h} did not smile. \"Why don't I have a {toy} like that?\" {he} thought. {he} was jealous."],
            ["When {f} went in to drink some water, {h} took the {toy} and hid it [behind a tree|under a bush|in a box].", "{f} put the {toy} down for a moment. Quickly, {h} hid it [behind a bush|under some leaves|in an old bucket]."],
            ["When {f} came back, the {toy} was gone. \"Where is it?\" {f.cried}, and {f.he} began to cry.", "<soon>, {f} looked for the {toy}. \"It is gone!\" {f.he} cried. Big tears ran down {f.his} face."],
            ["{h} had thought that {he} would feel better. But {he} felt [terrible|much worse|bad].", "{h} saw {f} cry, and {his} heart felt heavy."],
            ["\"I can't let {f.call} cry,\" {he} thought.", "\"{f.call} is my friend,\" {he} thought. \"What have I done?\""],
            ["{he} went and got the {toy}. \"Here it is,\" {h.said}. \"I hid it. I was jealous. I am so sorry.\"", "\"I am sorry, {f.call},\" {h.said}. \"I hid your {toy} because I wanted one too.\" And {he} gave it back."],
            ["{f} was [angry|quiet] for a moment. Then {f.he} dried {f.his} tears.", "{f} looked at {him} for a long time."],
            ["\"That was not nice,\" {f.said}. \"But thank you for telling me.\"", "\"I forgive you,\" {f.said}. \"You are still my friend.\""],
            ["\"We can play with it together,\" {f.said}. And so they did.", "Then {f} held out the {toy}. \"Do you want a turn?\" {f.he} asked."]]


@plot()
def picnic_ants(s):
    s.weather(["sunny", "warm", "fine", "bright"])
    s.pick(food=SNACKS, food2=["bread and cheese", "a small pie", "honey cake", "some juice", "a melon"])
    s.end, s.themes, s.things = "share", ["a picnic", "a picnic and some ants", "hungry ants"], ["picnic basket"]
    s.ask(("Where was the picnic?", "The picnic was {where}."), ("Who wanted to eat the food?", "The ants wanted to eat the food."), ("What was in the basket?", "There were {food} and {food2} in the basket."))
    return [["{oneday}, {h} and {f} made a picnic {where}.", "{oneday}, {h} said to {f}, \"Let's have a picnic!\" They went out and found a good spot {where}."],
            ["They laid down a {c1} blanket. In the basket were {food} and {food2}.", "They had a basket with {food} and {food2}, and they put everything on a {c1} blanket."],
            ["\"First let's play, and then let's eat,\" {f.said}.", "But before they ate, they [ran a race|picked some flowers|played a game]."],
            ["When they came back, the {food} were moving! \"Look!\" {h.cried}.", "<soon> they came back. Something was wrong. The food was walking away!"],
            ["It was a long line of ants. Each ant carried a little crumb.", "Ants were everywhere. They carried away one crumb after another."],
            ["\"Go away!\" {f.cried}. \"This is our picnic!\"", "{f} was angry. {f.he} wanted to chase the ants away."],
            ["But {h} looked closely. \"They are so small, and they work so hard,\" {he} said. \"[I think they are hungry|They must be hungry].\"", "\"Wait,\" {h.said}. \"Maybe they have little ones at home who are hungry.\""],
            ["{h} had an idea. {he} took some crumbs and put them [on a big leaf|on a flat stone] away from the blanket.", "\"Let's make a picnic for the ants too,\" {h.said}. {he} put a piece of food on a leaf."],
            ["The ants turned around and walked to their own little picnic.", "One by one, the ants left the blanket and went over there."],
            ["\"It worked!\" {f.said}. {f.he} laughed.", "{f} <smiled>. \"You are clever, {h.call},\" {f.he} said."],
            ["Now they could eat in peace, and so could the ants.", "Then everybody ate, the big ones and the small ones."]]


@plot()
def snowman(s):
    s.weather(["snowy", "cold", "white winter", "frosty"])
    s.pick(nose=["a carrot", "a pine cone", "a long stick", "a small potato"], eyes=["two black stones", "two nuts", "two buttons", "two pieces of coal"])
    s.end, s.themes, s.things = "happy", ["a snowman", "a snowy day", "winter fun"], ["snowman"]
    s.ask(("What did they build?", "They built a snowman."), ("What was the snowman's nose?", "The nose was {nose}."), ("What did the snowman wear?", "The snowman wore {h}'s {c1} hat."))
    return [["{oneday}, {h} looked out. Everything was white! It had snowed all night.", "{oneday}, the ground was white with snow. {h} ran outside."],
            ["\"Let's build a snowman!\" {h.said} to {f}.".replace("{h.said} to {f}", "{h} said to {f}"), "{f} was [already |]outside. \"Let us make a snowman,\" {f.he} said."],
            ["They rolled a big ball of snow, then a middle one, and then a small one.", "{h} rolled the big ball. {f} rolled the small one. It was hard work."],
            ["For the eyes, they took {eyes}. For the nose, they took {nose}.", "{f} found {eyes} for the eyes. {h} brought {nose} for the nose."],
            ["\"He looks cold,\" {f.said}. So {h} gave him {his} {c1} hat.", "\"Something is missing,\" {h.said}. {he} took off {his} {c1} hat and put it on the snowman's head."],
            ["?They named him [Mr. Frost|Mr. Snow|Old Snowy|Mr. White].", "\"Now he is perfect,\" {f.said}."],
            ["They danced around the snowman and threw snowballs.", "They played in the snow until their [hands were|noses were] cold."],
            ["In the evening, {p} called them in for [hot soup|warm milk|hot chocolate].", "\"Come in and get warm!\" {p.cried}. There was [hot soup|hot chocolate] on the table."],
            ["The next days were warm. The snowman got smaller and smaller.", "But then the sun came out, and the snowman began to melt."],
            ["{h} was <sad>. \"He is going away,\" {he} said.", "\"Don't go, snowman!\" {h.cried}."],
            ["\"He is turning into water,\" {p.said}. \"The flowers will drink it. And next winter, he will come back as snow.\"", "\"Snow always comes back,\" {p.said}. \"Next winter you can build him again.\""],
            ["{h} picked up the hat. \"See you next winter,\" {he} said.", "{h} <smiled> again. \"Then I will keep the hat for him,\" {he} said."]]


@plot(kinds=LAND, fkinds=["squirrel", "monkey", "cat", "raccoon", "koala", "chipmunk", "giraffe"])
def kite_tree(s):
    s.weather(["windy", "breezy"])
    s.pick(tree=["oak tree", "apple tree", "pine tree", "tall tree", "cherry tree"])
    s.end, s.themes, s.things = "help", ["a kite", "a kite in a tree", "a windy day"], ["kite"]
    s.ask(("Where did the kite get stuck?", "It got stuck in the {tree}."), ("What color was the kite?", "The kite was {c1}."), ("Who got the kite down?", "{f} got it down."))
    return [["{oneday}, {h} went {where} to fly {his} {c1} kite.".replace("went {where}", "was {where}"), "{oneday}, {h} took {his} new {c1} kite outside."],
            ["The wind blew, and the kite went up, up, up.", "{he} ran and ran, and the wind lifted the kite high into the sky."],
            ["\"Fly, kite, fly!\" {h.cried}.", "The kite danced [in the sky|among the clouds] like a {c1} bird."],
            ["<sudden>, a strong wind pulled at the string, and the kite flew into [a tree|the leaves]. It was stuck in the {tree}.".replace("[a tree|the leaves]", "a tree"), "But then the wind turned. The kite came down and got stuck in the {tree}."],
            ["{h} pulled at the string, but the kite did not move.", "{h} jumped as high as {he} could, but the kite was too high up."],
            ["?{he} threw a stick at it, but the stick only fell back on {his} head. Ouch!", "?\"Please come down,\" {he} said to the kite. It stayed where it was."],
            ["{h} sat down under the {tree} and was <sad>.", "\"<no>! I will never get it back,\" {h.said}."],
            ["<then> {f} came by. \"Why do you look so sad?\" {f.he} asked.", "{f} saw {him} there. \"What is wrong, {h.call}?\" {f.asked}."],
            ["\"My kite is up there,\" {h.said}, and {he} pointed.", "{h} told {f} about the wind and the kite."],
            ["\"I can help,\" {f.said}. \"I am good at [reaching high places|getting things down].\"", "{f} looked up. \"That is not so high for me,\" {f.he} said."],
            ["<slow>, {f} went up to the kite and set it free.".replace("<slow>", "carefully"), "{f} climbed from branch to branch until {f.he} had the kite.".replace("climbed from branch to branch", "reached up, branch by branch,")],
            ["The kite [sailed|floated] down, right into {h}'s hands.".replace("hands", "arms"), "\"Catch!\" {f.cried}, and the kite came down."],
            ["\"<thanks>, {f.call}! Now let's fly it together,\" {h.said}.", "\"You did it!\" {h.cried}. Then they flew the kite together, far away from the trees."]]


@plot()
def night_noise(s):
    noise, cause = s.rng.choice(NOISES)
    s.v.update(noise=noise)
    s.v["noise2"] = noise.split(" ", 1)[1]
    s.v["cause"] = s.expand(cause)
    s.end, s.themes = "brave", ["a strange noise in the night", "someone who is afraid of the dark", "a night noise"]
    s.ask(("What did {h} hear?", "{h} heard {noise}."), ("What made the noise?", "It was only {cause}."), ("What did {h} take along?", "{h} took a small {c1} lamp."))
    return [["One [dark |quiet |windy |]night, {h} lay in bed and could not sleep.", "It was a dark night. {h} woke up in the middle of it."],
            ["<sudden>, {he} heard {noise}.", "There was {noise}! ^{h} sat up in bed."],
            ["\"What was that?\" {h.whispered}.", "{he} held {his} breath. There it was again!", "{he} pulled the blanket up to {his} nose."],
            ["\"Maybe it is a monster,\" {he} thought. {he} was <scared>.", "{h} was <scared>. Was it a ghost? Was it a dragon?"],
            ["{he} waited. The {noise2} did not stop.", "?The moon went behind a cloud, and it got even darker."],
            ["{h} ran to {p}. \"There is something out there!\" {he} said.", "\"{p}!\" {h.cried}. \"I heard something!\""],
            ["\"Let's go and see what it is,\" {p.said}. \"[Take my hand|We will go together].\"", "{p} listened. \"I think I know what it is,\" {p.said}. \"Shall we look?\"" if "{p}" not in cause else "{p} smiled. \"Shall we look together?\" {p.he} said."],
            ["{h} did not want to go. But {he} took a small {c1} lamp and went with {p}.", "{h} took {his} little {c1} lamp. {his} knees shook, but {he} went."],
            ["Step by step, they went to the place where the noise came from.", "They walked very quietly. The noise got louder and louder."],
            ["{h} held up the lamp and looked. It was only {cause}!" if "{p}" not in cause else "{h} held up the lamp and began to laugh. \"The noise was you, {p}! You were humming in the kitchen,\" {he} said.",
             "And what did they see? It was only {cause}." if "{p}" not in cause else "In the kitchen, {p} began to hum again. \"That is the noise!\" {h.said}. It had only been {p}."],
            ["{h} laughed. \"Is that all?\" {he} said.", "\"No monster at all!\" {h.said}, and they both laughed."],
            ["Then {h} went back to bed. The noise was still there, but now it sounded [friendly|like a song].", "Back in bed, {he} listened to the noise again and soon fell asleep."]]


@plot(kinds=[k for k in LAND])
def hurt_bird(s):
    s.pick(bird=BIRDS, nest=["a shoe box", "a little basket", "a soft hat", "a small wooden box"], food=["seeds", "bread crumbs", "small berries"])
    s.end, s.themes, s.things = "help", ["a bird with a hurt wing", "helping a {bird}", "a {h.kind} and a little bird"], ["bird"]
    s.ask(("What was wrong with the {bird}?", "Its wing was hurt."), ("What did {h} give the bird to eat?", "{h} gave it {food}."), ("Where did the bird sleep?", "It slept in {nest}."))
    return [["{oneday}, {h} found a small {bird} {where}. It could not fly.", "{oneday}, {h} saw something in the grass. It was a little {bird}, and its wing was hurt."],
            ["\"Oh, you poor bird!\" {h.said}. \"Does your wing hurt?\"", "The {bird} looked at {him} with [big|sad|round] eyes."],
            ["?\"Peep,\" said the bird, very softly."],
            ["<slow>, {h} picked it up and carried it home.".replace("<slow>", "very gently"), "{h} took off {his} {c1} scarf and laid the bird in it. Then {he} took it home."],
            ["{p} looked at the wing. \"It is not broken,\" {p.said}. \"But it needs rest.\"", "\"Can you help it?\" {h} asked {p}. \"The wing needs time,\" {p.said}. \"You can help it too.\""],
            ["They made a bed for it in {nest}.", "{h} put soft grass into {nest}. That was the bird's bed."],
            ["Every day {h} brought it water and {food}.", "{h} fed it {food}, [in the morning and in the evening|three times a day]."],
            ["?At night, {he} told it stories so that it would not be lonely.", "?\"You will fly again,\" {he} told it each night."],
            ["Day by day, the {bird} got stronger. It began to sing.", "After a week, the bird hopped around and moved its wing."],
            ["Then the day came when its wing was well. {h} carried it outside.", "One morning, the bird flew around the room. \"It is time to let it go,\" {p.said}."],
            ["{h} was sad and glad at the same time. {he} opened {his} hands.".replace("opened {his} hands", "let it go"), "\"I will miss you,\" {h.said}. \"But you must fly.\""],
            ["The {bird} flew up, up into the sky. It turned around once and sang.", "Up it flew, over the trees and into the blue sky."],
            ["The next morning, {h} heard a song at the window. The {bird} had come back to say hello!", "And each morning after that, the {bird} sang a song for {h}."]]


@plot()
def help_grandma(s):
    s.pick(job=["pick the apples", "carry the wood", "sweep the floor", "hang up the washing", "water the garden", "clean the windows", "wash the dishes"], soup=["soup", "pie", "pudding", "warm bread"])
    s.v["gm"] = "Grandma" if s.world == "child" else "old Grandma " + s.v["h"].kind.capitalize()
    s.end, s.themes = "help", ["helping grandma", "a kind {h.kind} who helps", "a day at grandma's house"]
    s.ask(("Who did {h} help?", "{h} helped Grandma."), ("What did {h} help Grandma with?", "{h} helped her {job}."), ("What did Grandma make?", "Grandma made some {soup}."))
    return [["{oneday}, {h} went to visit {gm}.", "{gm} lived down the road. {oneday}, {h} went to see her."],
            ["On the way, {f} called, \"Come and play!\" But {h} said, \"Not now. Grandma is waiting for me.\"", "?{he} picked some {c1} flowers for her on the way."],
            ["Grandma sat in her chair and looked [tired|a bit sad].", "When {he} got there, Grandma did not come to the door. She was sitting in her chair."],
            ["\"What is wrong, Grandma?\" {h.asked}.", "\"Are you all right, Grandma?\" {h.asked}."],
            ["\"My back hurts today,\" said Grandma. \"And I still have to {job}.\"", "\"I have to {job},\" said Grandma, \"but I am so tired.\"".replace(",\" said Grandma, \"but", ",\" said Grandma. \"But")],
            ["\"I can do that for you!\" {h.said}. \"You just rest.\"", "\"Let me help you,\" {h.said}."],
            ["\"You are still so little,\" said Grandma. \"But I am strong,\" {h.said}.", "?Grandma smiled. \"That is very kind,\" she said."],
            ["So {h} set to work. It was not easy to {job}, but {he} did not stop.", "{h} began to {job}. {he} worked <hard>."],
            ["?<soon>, {f} came along and helped too. Then it went much faster.", "?{he} sang a song while {he} worked."],
            ["At last, all was done. {h} was [hot and tired|tired but happy].", "When {he} was done, {he} sat down and took a deep breath."],
            ["\"How good of you!\" said Grandma. She had made some {soup}.", "Grandma clapped her hands. \"Now I have something for you,\" she said, and she brought some {soup}."],
            ["They ate the {soup} together, and Grandma told {him} a story from long ago.", "The {soup} was hot and good. {h} ate it all up."]]


@plot()
def too_many_sweets(s):
    s.pick(sweet=SWEETS)
    s.v["feel"] = ""
    s.end, s.themes, s.things = "care", ["too many sweets", "someone who eats too many {sweet}", "a tummy ache"], ["jar of {sweet}"]
    s.ask(("What did {h} eat?", "{h} ate too many {sweet}."), ("Why did {h}'s tummy hurt?", "It hurt because {h} ate too many {sweet}."), ("What did {p} bring?", "{p} brought a cup of tea."), ("How did {h} feel the next morning?", "{h} felt better."))
    return [["{h} loved {sweet} more than anything.", "{oneday}, there was a big jar of {sweet} on the table."],
            ["\"You may have [two|one|three],\" {p.said}. \"More is not good for you.\"", "\"Take only a few,\" {p.said}, and then {p.he} went outside."],
            ["{h} ate {his} share. It was so sweet and so good!", "{h} took one. Yum! It was very good."],
            ["{he} looked at the jar. \"Just one more,\" {he} thought.", "\"One more can't hurt,\" {h.said}."],
            ["And then {he} had one more, and one more, and one more.", "{he} ate another one. And another. And ten more."],
            ["<soon>, the jar was [empty|almost empty].", "In the end, only [one was|two were] left."],
            ["Then {his} tummy began to hurt. \"Ow, ow, ow!\" {h.cried}.", "<sudden>, {h} did not feel well. {his} tummy went [round and round|glug, glug]."],
            ["{f} came and asked, \"Do you want to play?\" But {h} could not get up.", "?{f} wanted to play, but {h} could only lie in bed."],
            ["{p} looked at the jar and then at {h}. \"Did you eat all those {sweet}?\" {p.he} asked.", "{p} came in and saw the jar. \"Oh, {h.call},\" {p.he} said."],
            ["\"Yes,\" {h.said}. \"I am sorry. I should have listened to you.\"", "{h} nodded. \"I could not stop,\" {he} said."],
            ["{p} was not angry. {p.he} brought {him} a cup of tea and sat with {him}.", "\"Now you know why I said so,\" {p.said}. {p.he} brought {him} a cup of warm tea."],
            ["{h} slept for a long time.", "{h} drank the tea and rested all day."], "In the morning, {h} felt [much |]better.",
            "\"Next time, I will eat only a few,\" {h.said}.[| \"And I will share the rest.\"]"]


@plot()
def promise(s):
    s.pick(job=["water the flowers", "feed the fish", "look after the garden", "feed the hens", "watch the little ones"], fun=["a puppet show", "a fair", "a parade", "a ball game", "a boat ride"])
    s.v["fun2"] = "the " + s.v["fun"].split(" ", 1)[1]
    s.end, s.themes = "help", ["keeping a promise", "a promise", "someone who keeps {his} word"]
    s.ask(("What did {h} promise?", "{h} promised to {job}."), ("Did {h} keep the promise?", "Yes, {h} kept the promise."), ("Where did {f} want to go?", "{f} wanted to go to {fun}."))
    return [["{oneday}, {p} had to go away for the day. \"Will you {job}?\" {p.asked}.", "{oneday}, {p} said to {h}, \"I must go to town. Can you {job} for me?\""],
            ["\"Yes, I promise,\" {h.said}.", "{h} nodded. \"You can count on me,\" {he} said. \"I promise.\""], "?{p} waved and went down the road.",
            ["<soon>, {f} came running. \"There is {fun} today! Come with me!\" {f.cried}.", "Not much later, {f} knocked at the door. \"Let's go and see {fun}!\" {f.said}."],
            ["{h} wanted to go very much. {he} loved things like that.", "{h}'s eyes grew big. {he} had waited for that for a long time."],
            ["\"{p} will never know,\" {f.said}. \"You can do your work tomorrow.\"", "\"Come on, it will be over soon,\" {f.said}."],
            ["{h} thought about it. Then {he} shook {his} head.", "{h} looked down the road and then back at the house. It was hard to choose."],
            ["\"I made a promise,\" {he} said. \"I have to {job}.\"", "\"No, I can't,\" {h.said}. \"{p} trusts me.\""],
            ["{f} was quiet. \"Then I will help you,\" {f.he} said. \"Together we will be faster.\"", "\"You are right,\" {f.said}. \"I will stay and help you. Then we can both go.\""],
            ["So they worked side by side until everything was done.", "They set to work at once. With two, it went very fast."],
            ["Then {p} came home and saw it all. \"You kept your word,\" {p.said}.", "When {p} came back, {p.he} was very pleased. \"I knew that I could trust you,\" {p.he} said."],
            ["\"Now hurry, both of you. You can still see {fun2}!\" {p.said}. And they ran as fast as they could.", "In the evening, {p} took them both to see {fun2}. It was wonderful."]]


@plot("animal", kinds=LAND)
def bridge(s):
    s.pick(water=["river", "stream", "deep valley"], far=["a field of berries", "a party", "the old mill", "Grandma's home", "a meadow full of flowers"])
    s.v["far2"] = re.sub("^a ", "the ", s.v["far"])
    s.end, s.themes, s.things = "brave", ["a bridge", "someone who is afraid to cross a bridge", "a {h.kind} and a bridge"], ["bridge"]
    s.ask(("What was {h} afraid of?", "{h} was afraid of the bridge."), ("What was on the other side?", "{far} was on the other side."), ("Who helped {h} cross the bridge?", "{f} helped {h}."))
    return [["{oneday}, {h} and {f} were on their way to {far}.", "{oneday}, {h} wanted to go to {far}. {f} came along."],
            ["After a while, they came to a {water}. An old wooden bridge went across.", "The way led over a long, narrow bridge. Under it was a {water}."],
            ["{f} walked across without a care. \"Come on!\" {f.cried}.", "{f} ran ahead. Trip, trap, trip, trap, and {f.he} was on the other side."],
            ["But {h} stood still. The bridge moved a little in the wind.", "{h} put one foot on the bridge. Creak! ^{he} jumped back."],
            ["\"I can't do it,\" {h.said}. \"It is too high.\"", "\"What if I fall?\" {h.cried}. {his} legs felt like jelly."], "?{he} looked down, and that made it worse.",
            ["{f} came back. {f.he} did not laugh. \"Do not look down,\" {f.said}. \"Look at me.\"", "So {f} came all the way back. \"I will walk right in front of you,\" {f.said}."],
            ["{h} nodded, but {he} still did not move.", "\"Will you stay close to me?\" {h.asked}."],
            ["\"We will count the boards,\" {f.said}. \"One for each step.\"", "\"Let us sing a song,\" {f.said}. \"Then it will not be so scary.\""],
            ["<slow>, {h} took one step, and then the next.".replace("<slow>", "carefully"), "{h} held on tight and began to walk."],
            ["In the middle, the bridge creaked again. {h} stopped, but {f} said, \"You are doing well. Go on.\"", "The wind blew, and {h} wanted to turn around. But {he} went on."],
            ["Three more steps, two more steps, one more step. {h} was on the other side!", "And then there was soft grass under {his} feet. {he} had done it!"],
            ["\"I crossed the bridge!\" {h.cried}.", "{h} looked back. \"It is not even so long,\" {he} said, and they both laughed."], ["<soon>, they came to {far2}. It was lovely there.", "?They had a good time there. On the way back, {h} went first."]]


@plot()
def treasure(s):
    s.pick(treasure=TREASURES, spot=["under the big oak tree", "behind the old mill", "next to the round stone", "under the old bridge", "by the dry well"], map=["in an old book", "in a bottle", "under the rug", "in a box in the attic", "inside an old hat"])
    s.end, s.themes, s.things = "happy", ["a treasure map", "a treasure hunt", "two friends who find a treasure"], ["map"]
    s.ask(("Where was the map?", "The map was {map}."), ("What was the treasure?", "It was {treasure}."), ("Where was the treasure?", "The treasure was {spot}."))
    return [["{oneday}, {h} found an old map {map}.", "{oneday}, {h} was looking for something to do. {map}, {he} found a yellow piece of paper. It was a map!"],
            ["There was a {c1} cross on it. \"A treasure!\" {h.said}.", "A line went up and down, and at the end there was a {c1} cross."],
            ["{he} ran to {f} and showed {f.him} the map.", "\"Look, {f.call}!\" {h.cried}. \"Do you want to find a treasure with me?\""],
            ["\"Let's go!\" {f.said}. They took a shovel and some bread.", "\"Oh yes!\" {f.said}. {f.he} got a shovel at once."],
            mix("First they had to go past the pond. The ducks quacked at them.", "They walked through a dark little wood and held on to each other.", "?They climbed over a fence and ran down a hill.", "?They jumped over a small stream. {f} got wet feet, but {f.he} only laughed."),
            ["\"Now ten steps to the left,\" {h.said}. They counted them together.", "\"We are lost,\" {f.said}. But {h} turned the map around. \"No, it is this way,\" {he} said."],
            ["At last, they stood {spot}. That was where the cross was.", "The map led them to a place {spot}."],
            ["They began to dig. They dug and dug. Clunk! The shovel hit something hard.", "{h} dug, and then {f} dug. The hole got deeper and deeper. <sudden>, there was a clunk."],
            ["They pulled it out, and {f} cleaned off the dirt. What was inside?", "\"I found something!\" {h.cried}. They pulled as hard as they could."],
            ["It was {treasure}!", "They looked, and there it was: {treasure}!".replace("there it was: ", "they saw ")],
            ["\"Half for you and half for me,\" {h.said}.", "\"Let us share it,\" {f.said}. ^{h} thought so too."],
            ["?When {p} heard about it, {p.he} smiled. \"I hid that when I was little,\" {p.he} said.", "?In the evening, they showed it to {p}, who could not believe it."]]


@plot()
def lie(s):
    s.v["beast"], s.v["feel"] = s.rng.choice(["wolf", "snake", "monster", "dragon"]), ""
    s.pick(trouble=["into a deep hole", "into a muddy ditch", "into a thorny bush"])
    s.end, s.themes = "honest", ["telling a lie", "a {h.kind} who tells lies", "a lie and what it costs"]
    s.ask(("What lie did {h} tell?", "{h} said that there was a {beast}."), ("Why did nobody come at first?", "Nobody came because {h} had lied before."), ("Who helped {h} in the end?", "{f} helped {h} out."))
    return [["{oneday}, {h} was bored. {he} wanted to play a trick.", "{oneday}, nothing was going on. {h} had a silly idea."],
            ["\"Help, help! A {beast}!\" {h.cried} as loudly as {he} could.".replace("{h.cried}", "{h} cried"), "{he} ran around and shouted, \"There is a {beast}! Help me!\""],
            ["{p} and {f} came running. But there was no {beast}.", "Everyone dropped what they were doing and came to help. There was nothing to see."],
            ["{h} laughed and laughed. \"It was only a joke!\" {he} said.", "\"I fooled you!\" {h.cried}, and {he} laughed."],
            ["\"That is not funny,\" {p.said}. \"We were afraid for you.\"", "{f} was not happy. \"I ran so fast that my side hurts,\" {f.he} said."],
            ["But the next day, {h} did it again. Again they came, and again there was no {beast}.", "A little later, {h} shouted again. Once more they all came, and once more it was a lie."],
            ["Then, on the third day, {h} slipped and fell {trouble}.", "On the day after that, {h} did not look where {he} was going and fell {trouble}."],
            ["\"Help! I can't get out!\" {h.cried}.", "{he} could not get out. \"Help! Please help me!\" {h.cried}."],
            ["\"That is just another joke,\" the others said. Nobody came.", "{p} heard it and shook {p.his} head. \"I do not believe it this time,\" {p.he} said."],
            ["{h} called and called. It got late, and {he} began to cry.", "{h} waited a long time. \"I should not have lied,\" {he} thought."],
            ["At last, {f} walked by and saw {him}. \"You really do need help!\" {f.said}. {f.he} pulled {him} out.", "In the end, {f} came to look after all. {f.he} held out a long stick and pulled {him} out."],
            ["\"I am sorry that I lied,\" {h.said}. \"Now I know why nobody came.\"", "\"If you lie too often, nobody believes you,\" {f.said}. \"I will never do it again,\" {h.said}."],
            ["{h} was sorry, and {he} never forgot that day.", "{h} felt ashamed, but {he} was glad to be out again.", "And {h} kept {his} word."]]


@plot("animal")
def band(s):
    s.pick()
    a, b = s.rng.sample(INSTRUMENTS, 2)
    s.v.update(i1=a, i2=b)
    s.end, s.themes, s.things = "happy", ["animals who make music", "a band of animals", "music in the forest"], ["{i1}"]
    s.ask(("What did {h} play?", "{h} played the {i1}."), ("What did {f} play?", "{f} played the {i2}."), ("What did the animals make together?", "They made music together."))
    return [["{oneday}, {h} found an old {i1}. {he} tried it, and it made a funny sound.", "{h} had got a {i1} from {p}. {he} played on it every day."],
            ["But it was lonely to play alone. \"I would like to have a band,\" {h.said}.", "\"Music is better with friends,\" {h} thought. \"Who will play with me?\""],
            ["{he} went to {f}. \"Can you play something?\" {he} asked.", "On the way, {he} met {f}. \"Do you want to make music with me?\" {h.asked}."],
            ["\"I have a {i2},\" {f.said}. \"I am not very good, but I like it.\"", "{f} ran home and came back with a {i2}."],
            ["Then {g} came along. \"I have nothing to play,\" {g.he} said sadly.", "{g} heard them. \"May I be in the band too?\" {g.asked}. \"But I can't play anything.\""],
            ["\"You can sing!\" {h.said}.", "\"You have a fine voice,\" {f.said}. \"You can sing for us.\""],
            ["The first song was awful. Everybody played as loudly as they could, and nobody listened.", "At first, it sounded terrible. The birds flew away, and a baby animal began to cry."],
            ["\"Stop!\" {h.cried}. \"We have to listen to each other.\"", "\"We are too loud,\" {h.said}. \"Let us play softly and listen.\""],
            ["So they tried again, slowly. {h} played the {i1}, {f} played the {i2}, and {g} sang.", "They tried it once more. First came the {i1}, then the {i2}, and then {g} sang."],
            ["Now it sounded lovely! ^one animal after another came to listen.", "This time it was beautiful. Even the birds came back."],
            ["When the moon came up, everyone was dancing.", "All the animals clapped. \"More, more!\" they cried."], "?\"We are a real band now,\" {f.said}."]


@plot()
def moving(s):
    s.pick(miss=["the big tree by the window", "{his} old room", "the garden", "the little pond", "the birds at the window"], gift=["a smooth stone", "a picture", "some flowers", "a warm muffin", "a paper star"])
    s.end, s.themes = "friend", ["moving to a new house", "a new home", "someone who moves away"]
    s.ask(("What did {h} miss?", "{h} missed {miss}."), ("What did {f} bring?", "{f} brought {gift}."), ("Who lived next door?", "{f} lived next door."))
    return [["{oneday}, {p} said, \"We are going to move to a new home.\"", "{oneday}, {h} and {p} packed everything into boxes. They were moving away."],
            ["{h} did not want to go. \"I like it here,\" {he} said.", "{h} was <sad>. \"Why can't we stay?\" {he} asked."], ["\"I know,\" {p.said}. \"It is hard to say goodbye.\"", "\"A new place can be nice too,\" {p.said}. \"Give it some time.\""],
            "?{h} said goodbye to every corner. Then they left.", ["The new home was big and strange. It smelled different.", "When they got there, nothing was like before. All the rooms were empty."],
            ["{h} missed {miss}.", "In the first night, {h} could not sleep. {he} missed {miss}."],
            ["The next morning, there was a knock at the door. There stood {f.intro}.", "In the morning, someone knocked. It was {f.intro}."],
            ["\"I live next door,\" {f.said}. \"I have brought you {gift}.\"", "{f} held out {gift}. \"This is for you,\" {f.he} said. \"We are neighbors!\""],
            ["\"<thanks>,\" {h.said}. {he} smiled a little.", "{h} did not know what to say. Then {he} smiled."],
            ["\"Come, I will show you everything,\" {f.said}.", "\"Do you want to see my secret place?\" {f.asked}."],
            ["They ran through the grass, looked at a bird's nest, and sat on a wall in the sun.", "{f} showed {him} the best spots to hide and a tree with sweet fruit."],
            ["In the evening, {h} said to {p}, \"I think I like it here.\"", "That night, the new room did not feel so strange. \"Good night, new home,\" {h.whispered}."]]


@plot("child")
def first_school(s):
    s.pick(keep=["a small stone", "a little button", "a tiny toy bear", "a blue marble", "a handkerchief"], did=["painted pictures", "sang songs", "built a tower", "heard a story", "counted to twenty"])
    s.v["keep2"] = "the " + s.v["keep"].split(" ", 1)[1]
    s.v["teacher"] = s.rng.choice(["Mr.", "Mrs.", "Miss"]) + " " + s.rng.choice("Green Brown Hill Wood Bell Field Fox Baker Rose Lake Snow".split())
    s.end, s.themes = "friend", ["the first day of school", "going to school", "a {h.kind} who goes to school for the first time"]
    s.ask(("What was the teacher's name?", "The teacher's name was {teacher}."), ("What did {h} have in {his} pocket?", "{h} had {keep} in {his} pocket."), ("Who sat next to {h}?", "{f} sat next to {h}."), ("What did the children do?", "They {did}."))
    return [["It was the first day of school. {h} put on {his} {c1} backpack.", "One morning, {p} woke {h} up early. It was the first day of school!"],
            ["\"I do not want to go,\" {h.said}. \"I don't know anybody there.\"", "{his} tummy felt funny. \"What if nobody likes me?\" {he} asked."],
            ["{p} gave {him} {keep}. \"Put it in your pocket,\" {p.said}. \"When you touch it, I am with you.\"", "\"Take this with you,\" {p.said}, and {p.he} put {keep} into {his} pocket. \"It will make you feel brave.\""],
            "They walked to school [hand in hand|side by side].", ["The school was big, and there were many children. It was very loud.", "At the door stood the teacher. \"Good morning! I am {teacher},\" the teacher said."],
            ["{h} sat down on a chair and looked at {his} shoes.", "{h} stood by the wall and did not say a word. {he} held on to {keep2}."],
            ["Next to {him} sat {f.intro}. {f} looked sad too.", "Then {h} saw {f.intro}. A tear ran down {f.his} cheek."],
            ["\"Is it your first day too?\" {h.asked}. {f} nodded.", "\"Are you afraid too?\" {h.asked}. \"Yes,\" {f.whispered}."],
            ["{h} took {keep2} out of {his} pocket. \"You can hold it,\" {he} said. \"It helps.\"", "\"Here, hold this,\" {h.said}, and {he} gave {f} {keep2}. \"It makes you brave.\""],
            ["{f} smiled. After that, they sat together all morning.", "{f} held it tight and stopped crying. \"<thanks>,\" {f.he} said."],
            ["They {did} with {teacher}, and it was fun.", "With {teacher}, the children {did}."],
            ["When {p} came, {h} did not want to go home. \"Can I come back tomorrow?\" {he} asked.", "\"How was it?\" {p.asked}. \"I have a friend now,\" {h.said}."]]


@plot("animal", kinds=["mouse", "hedgehog", "frog", "mole", "chipmunk", "snail", "squirrel", "kitten"], fkinds=BIG)
def smallest(s):
    s.pick(key=["golden key", "silver bell", "ring", "little crown", "shiny coin"], hole=["a crack between two rocks", "a hole in the old tree", "a narrow pipe", "a hole in the ground"])
    s.end, s.themes, s.things = "help", ["the smallest one who helps", "a little {h.kind} who is a big help", "a small {h.kind} and a big {f.kind}"], ["{key}"]
    s.ask(("What did {f} drop?", "{f} dropped a {key}."), ("Where did the {key} fall?", "It fell into {hole}."), ("Who got the {key} back?", "{h} got it back."))
    return [["{h} was the smallest of all the animals. \"You are too little to help,\" they always said.", "All the other animals were bigger than {h}. They never let {him} help."],
            "?That made {h} sad.", ["{oneday}, {f} lost something. {f.he} dropped a {key}, and it fell into {hole}.", "{oneday}, {f} was carrying a {key}. {f.he} tripped, and it rolled into {hole}."],
            ["\"<no>! My {key}!\" {f.cried}.", "\"It was a gift from my grandma,\" {f.said}. Big tears ran down {f.his} face."],
            ["{f} tried to get it, but {f.he} was much too big.", "{f} pushed and pulled. It was no use. {f.he} was too big for such a narrow place."],
            ["{g} tried with a long stick. That did not work either.", "\"Let me try,\" {g.said}. But {g.he} was too big as well."],
            ["\"I can do it,\" said a small voice. It was {h}.", "Then {h} came up. \"May I try?\" {h.asked}."],
            ["The others laughed. \"You? You are so small!\"", "\"You are too little,\" {g.said}."], ["\"That is just what you need,\" {h.said}.", "But {f} said, \"Let {him} try.\""],
            ["{h} took a deep breath and went in. It was dark and narrow.", "In went {h}. Soon only the tip of {his} nose could be seen, and then nothing at all."],
            ["Everyone waited. Then {h} came out again with the {key}!", "It was quiet for a long time. And then there {he} was, with the {key}!"],
            ["\"<thanks>, {h.call}!\" {f.said}. \"Without you, I would have lost it.\"", "{f} was so happy that {f.he} danced. \"You are small, but you are a big help,\" {f.he} said."],
            ["After that, nobody said that {h} was too little.", "?The others were sorry that they had laughed."]]


@plot()
def star_wish(s):
    s.pick(wish=["a friend", "someone to play with", "a friend who likes the stars too"])
    s.end, s.themes, s.things = "friend", ["a wish", "a star", "a {h.kind} who makes a wish on a star"], ["star"]
    s.ask(("What did {h} wish for?", "{h} wished for {wish}."), ("What did {h} see in the sky?", "{h} saw a star."), ("Who sat on the hill?", "{f} sat on the hill."))
    return [["{h} was often alone. There was nobody to play with.", "{h} did not have many friends. {he} often played all alone."],
            ["One night, {he} looked out at the sky. It was full of stars.", "One clear night, {he} could not sleep, so {he} looked at the stars."],
            ["One star was brighter than all the others. It seemed to wink at {him}.", "<sudden>, a star fell across the sky with a long, bright tail."],
            ["\"Dear star,\" {h.said}. \"I wish for {wish}.\"", "{h} closed {his} eyes. \"I wish for {wish},\" {he} said softly."],
            ["The star said nothing. {h} waited a while and went to bed.", "{he} waited, but nothing happened. The stars only shone."],
            ["The next day, {he} asked {p}, \"Do wishes come true?\" {p} smiled. \"Sometimes,\" {p.he} said. \"But you have to help them a little.\"", "In the morning, {h} told {p} about it. \"A wish needs a little help,\" {p.said}. \"Go out and look.\""],
            ["So the next evening, {h} put on {his} {c1} scarf and went up the hill.", "When it got dark again, {h} walked up the hill to be closer to the star."],
            ["Somebody was sitting there already. It was {f.intro}.", "But {he} was not the only one there. On the grass sat {f.intro}."],
            ["\"What are you doing here?\" {h.asked}. \"I am looking at the stars,\" {f.said}.", "\"Hello,\" {f.said}. \"Did you come to see the stars too?\""],
            ["{h} sat down beside {f.him}.", "For a while, they both looked up."],
            ["\"I made a wish last night,\" {f.said}. \"I wished for a friend.\"", "\"That bright one is mine,\" {f.said}. \"I asked it for a friend.\""],
            ["\"So did I!\" {h.cried}. They looked at each other and laughed.", "{h} was so surprised. \"That was my wish too,\" {he} said."],
            ["They sat close together and counted the stars until it was time to go home.", "High above them, the bright star winked."]]


@plot()
def lost_in_woods(s):
    s.pick(follow=["a {c1} butterfly", "a little bird", "a trail of mushrooms", "a dragonfly", "a funny beetle"], helper=["an old owl", "a friendly woodpecker", "a kind deer", "a tiny firefly"])
    s.v["helper2"] = "the " + s.v["helper"].split(" ", 1)[1]
    s.end, s.themes = "care", ["getting lost in the forest", "someone who gets lost", "a {h.kind} who loses {his} way"]
    s.ask(("What did {h} follow?", "{h} followed {follow}."), ("Who showed {h} the way home?", "{helper2} showed {him} the way."), ("Where did {h} get lost?", "{h} got lost in the woods."))
    return [["\"Stay on the path,\" {p.said} when {h} went out.", "{oneday}, {h} went for a walk in the woods. \"Do not leave the path,\" {p} told {him}."],
            ["But then {h} saw {follow}. \"How pretty!\" {he} said.", "After a while, {he} saw {follow}. \"Where does it go?\" {he} asked {himself}."],
            ["{he} followed it to the left and to the right, deeper and deeper into the woods.", "{h} left the path and went after it. {he} went a long way and did not look back."],
            ["<sudden>, it was gone. And the path was gone too.", "Then {he} stopped. Where was the path? There were only trees and trees."],
            ["\"Where am I?\" {h.said}. Nobody answered.", "\"I am lost!\" {h.cried}. {his} heart beat fast."], ["It got dark and cold. {h} sat down under a tree and cried.", "The shadows grew long. {h} was <scared> and began to cry."],
            ["\"Why are you crying?\" asked a voice. It was {helper}.", "Something moved among the leaves. It was {helper}. \"Are you lost?\" {helper2} asked."],
            ["\"I left the path, and now I can't find my way home,\" {h.said}.", "{h} dried {his} tears. \"Yes,\" {he} said. \"I should have stayed on the path.\""],
            ["\"I know these woods well,\" said {helper2}. \"Come with me.\"", "\"Do not worry,\" said {helper2}. \"I will bring you back.\""],
            ["{helper2} went ahead, and {h} stayed close behind.", "They went past the big stones and over a little stream."],
            ["<soon>, {h} saw a light. It was home!", "At last, the trees opened, and there was the path. {h} could see a light far away."],
            ["{p} was waiting at the door and <hug>.", "\"There you are!\" {p.cried}, and {p.he} <hug>."], ["\"I will stay on the path next time,\" {h.said}.", "When {h} turned around to say thank you, {helper2} was already gone."]]


@plot()
def wallet(s):
    s.pick(thing=["{c1} purse", "silver watch", "gold ring", "bag of coins", "{c1} necklace"], want=["a new ball", "a kite", "a big ice cream", "a drum", "a box of paints"])
    s.end, s.themes, s.things = "honest", ["finding something and giving it back", "an honest {h.kind}", "a lost {thing}"], ["{thing}"]
    s.v["old"] = s.rng.choice(["an old woman", "an old lady"]) if s.world == "child" else "an old " + s.rng.choice([k for k in LAND if k not in (s.v["h"].kind, s.v["f"].kind, "puppy", "kitten", "lamb")])
    s.v["old2"] = "the " + s.v["old"].split(" ", 1)[1]
    s.ask(("What did {h} find?", "{h} found a {thing}."), ("What did {h} want to have?", "{h} wanted to have {want}."), ("Who had lost the {thing}?", "{old} had lost it."))
    return [["{h} wanted to have {want}, but {he} had no money.", "There was one thing that {h} wished for. It was {want}."],
            ["{oneday}, {h} saw something shine in the grass. It was a {thing}!", "{oneday}, {h} was out with {f}. On the ground lay a {thing}."],
            ["\"Look, {f.call}, see what I found!\" {h.said}.", "{h} picked it up and showed it to {f}."], ["\"You could sell it and get {want}!\" {f.said}.", "\"Now you can buy {want},\" {f.said}."],
            ["{h} thought about {want}. It was so tempting.".replace("It was so tempting.", "How nice that would be!"), "For a moment, {h} was very happy."],
            ["\"But it is not mine,\" {he} said then. \"Somebody has lost it.\"", "Then {he} shook {his} head. \"It belongs to somebody else,\" {he} said."],
            ["They went along the road and asked everybody.", "So they walked around and looked for the owner."],
            ["By the well they saw {old}. She was looking at the ground and crying.", "Then they met {old}. She looked very sad."],
            ["\"Have you lost something?\" {h.asked}. \"Yes, my {thing},\" said {old2}. \"It was from my mother.\"", "\"I have lost my {thing},\" said {old2}. \"I have looked for it all day.\""],
            ["{h} held it out. \"Is this it?\" {he} asked.", "\"Here it is,\" {h.said}, and {he} gave it to her."],
            ["\"Oh, thank you!\" cried {old2}. \"What an honest child you are.\"" if s.world == "child" else "\"Oh, thank you!\" cried {old2}. \"How honest you are!\"", "Her whole face began to shine. \"You have made me so happy,\" she said."],
            ["A few days later, a box stood at {h}'s door. In it was {want}. \"For an honest friend,\" it said.", "?Then she gave them both a warm cookie. {h} had never eaten a better one."]]


@plot()
def too_proud_tower(s):
    s.pick(what=["tower out of blocks", "sand castle", "house out of sticks", "tower out of stones", "dam out of mud and sticks"])
    s.v["w"] = s.v["what"].split()[0] if not s.v["what"].startswith("sand") else "castle"
    s.end, s.themes, s.things = "try", ["building a {what}", "working together", "two friends who build something"], ["{w}"]
    s.ask(("What did {h} build?", "{h} built a {what}."), ("Who helped {h} in the end?", "{f} helped {h}."), ("What happened to the first {w}?", "It fell down."))
    return [["{oneday}, {h} began to build a {what} {where}.", "{oneday}, {h} said, \"I will build a big {what}!\" {he} started right away."],
            ["{f} came by. \"May I help?\" {f.asked}.", "\"Can I build with you?\" {f.asked}. {f.he} had been watching."], ["\"No,\" {h.said}. \"I can do it alone.\"", "{h} shook {his} head. \"I am the best builder,\" {he} said. \"I do not need help.\""],
            ["So {f} sat down and watched.", "{f} shrugged and sat down on the ground."], ["The {w} got higher and higher. {h} did not stop to look at the bottom.", "{h} worked <quick>. {he} wanted it to be the biggest {w} in the world."],
            ["\"It is leaning a bit,\" {f.said}. But {h} did not listen.", "?The {w} began to shake a little."], ["Then, crash! The whole {w} fell down.", "{he} put one more piece on top. Crash! Everything fell down."],
            ["{h} kicked the ground. \"This is stupid!\" {h.cried}.".replace("stupid", "no good"), "\"<no>! All my work!\" {h.cried}. {he} was close to tears."],
            ["{f} did not laugh. \"It was a fine {w},\" {f.he} said. \"It only needed a wider bottom.\"", "\"Do you want to try again?\" {f.asked}. \"I could hold the bottom.\""],
            ["{h} was quiet for a while. \"Will you help me?\" {he} asked.", "\"Please help me,\" {h.said}. \"I should have said yes before.\""],
            ["This time they worked together. {f} built the bottom, and {h} built the top.", "They started again, slowly and carefully. One held, and the other built."],
            ["The new {w} stood firm. It did not even shake.", "When it was done, it was bigger than the first one, and it did not fall."], ["\"We built it together!\" {h.said}.", "They called {p} to come and look. \"What a fine {w}!\" {p.said}."]]


@plot()
def lost_tooth_wait(s):
    s.pick(thing=["letter", "package", "boat", "circus", "train"])
    s.v["who"] = s.rng.choice(["{his} uncle", "{his} aunt", "{his} big sister", "{his} cousin", "{his} big brother"])
    s.v["who"] = s.expand(s.v["who"])
    s.pick(sit=["on the steps", "on the fence", "on a big stone", "at the gate"], brought=GIFTS)
    s.end, s.themes = "patient", ["waiting patiently", "waiting for a visit", "someone who can't wait"]
    s.ask(("Who was {h} waiting for?", "{h} was waiting for {who}."), ("Where did {h} wait?", "{h} waited {sit}."), ("What did {h} get?", "{h} got {brought}."))
    return [["\"Today we will have a visitor,\" {p.said} one morning. It was {who}!", "{oneday}, {h} was very excited. {who} was coming to visit!"],
            ["{h} sat down {sit} and looked down the road.", "{he} ran outside at once and sat {sit}."], ["Nobody came. \"How long will it take?\" {h.asked}.", "{he} waited and waited. \"Is it time now?\" {he} asked."],
            ["\"Not before the sun is over the big tree,\" {p.said}.", "\"It will take a while,\" {p.said}. \"It is a long way.\""], ["\"I can't wait that long!\" {h.cried}. {he} kicked a stone.", "{h} ran up the road and back again. Still nobody came."],
            ["\"Waiting goes faster when you do something nice,\" {p.said}.", "\"If you only look at the road, the time goes slowly,\" {p.said}. \"Why don't you make something?\""],
            ["{h} thought about it. Then {he} got some paper and drew a picture.", "So {h} began to pick flowers for the visitor."],
            ["<then> {f} came by and helped {him}. They talked and sang.", "?{f} came along and told {him} a funny story."], ["{h} forgot all about the time.", "Now the time flew by."],
            ["<sudden>, someone called, \"Hello, {h.call}!\" There came {who}!", "And when {he} looked up, there was {who}, coming down the road!"],
            ["{h} ran as fast as {he} could. \"You are here! You are here!\" {he} cried.", "\"At last!\" {h.cried}, and {he} jumped up and down."],
            ["There were many hugs, and there was a gift too. It was {brought}.", "\"I have something for you,\" the visitor said. It was {brought}."], ["\"And I made this for you,\" {h.said}.", "\"It did not take so long after all,\" {h} said to {p}."]]


# ---------------------------------------------------------------- chats
ASK = ["Tell me a story about {t}.", "Write a short story about {t}.", "Can you tell a story about {t}?", "Please tell me a story about {t}.",
       "I want to hear a story about {t}.", "Could you write a story about {t}?", "Tell me a short story about {t}, please.", "Write me a story about {t}.",
       "Make up a story about {t}.", "A story about {t}, please.", "I would like a story about {t}.", "Do you know a story about {t}?",
       "Hello! Can you tell me a story about {t}?", "Please write a short story for children about {t}.", "Tell a bedtime story about {t}.",
       "Can you write a little story about {t}?", "My child wants a story about {t}.", "Let me hear a story about {t}.", "Write a simple story about {t}.",
       "Hi! I would like to read a story about {t}.", "Tell me something about {t}. A little story, please.", "Story time! Tell us about {t}.",
       "Could you please tell me a bedtime story about {t}?", "Give me a short story about {t}.", "Can I have a story about {t}?"]
ASK_ANY = ["Tell me a story.", "Can you tell me a story?", "Please tell me a bedtime story.", "Write a short story.", "I want to hear a story.", "Story, please!",
           "Could you tell me a short story?", "I can't sleep. Tell me a story.", "Tell me a nice story for children.", "Do you know any stories?"]
ASK_TWO = ["Write a short story with {a} and {b}.", "Tell me a story with {a} and {b}.", "Can you tell a story with {a} and {b} in it?", "I want a story with {a} and {b}."]
HELLO = {"Hello!|Hi!|Hello there!|Hi there!|Good morning!|Hey!|Good evening!|Hello.|Hi": "Hello! Would you like to hear a story?|Hi! It is nice to meet you. Shall I tell you a story?|"
         "Hello! I am glad that you are here. What story would you like?", "What is your name?|Who are you?|What are you?|Are you a person?|Are you a robot?|Tell me about yourself.":
         "I am a very small language model. I know how to tell simple stories.|I am a small language model, and I like to tell stories.",
         "What can you do?|How can you help me?|What do you know?|Can you help me?": "I can tell you little stories. I also know some simple things. Just ask me!|I know many small stories. Would you like one?",
         "How are you?|How are you today?|Are you well?": "I am fine, thank you! How are you?|I am well, thank you. Would you like a story?",
         "Thank you!|Thanks!|Thank you for the story.|That was nice.|I liked that story.": "You are welcome! Would you like another story?|I am glad that you liked it!|You are welcome!",
         "Good night!|Good night.|I am going to bed now.": "Good night! Sleep well and have sweet dreams.|Good night! See you tomorrow.", "Goodbye!|Bye!|See you later!|Bye bye!": "Goodbye! Come back soon for a new story.|Bye! It was nice to talk to you.",
         "I am sad.|I feel sad today.|I am not happy.": "I am sorry that you are sad. Would a story make you feel better?|I am sorry to hear that. A friend can help, and so can a nice story.",
         "I am happy today!|I feel great!|Today is a good day!": "That is wonderful! What made you so happy?|I am glad to hear that!", "I am bored.|What should we do?|What should I do now?": "You could draw a picture, or I could tell you a story.|How about a story?",
         "Do you like animals?|Do you like stories?|Do you like to tell stories?": "Yes, I do! Would you like a story about an animal?", "I am hungry.|I want to eat something.": "Then it may be time for a snack. An apple is always good!",
         "I am tired.|I am sleepy.": "Then it is time to rest. Shall I tell you a bedtime story?", "Can you write a poem?|Do you know the news?|Can you do my homework?": "I am only a small model. I can tell simple stories. Would you like one?"}
COLOUR_OF = """the sky:blue|grass:green|snow:white|the sun:yellow|a banana:yellow|a ripe tomato:red|a strawberry:red|milk:white|a carrot:orange|a pumpkin:orange|a lemon:yellow|coal:black|
a frog:green|a leaf in spring:green|chocolate:brown|a pig:pink|an elephant:gray|a polar bear:white|an orange:orange|blood:red|a crow:black|the sea:blue|a blueberry:blue|a fire truck:red|a pea:green|
salt:white|a cucumber:green|a chick:yellow|a flamingo:pink|the night sky:black""".replace("\n", "")
LEGS = {"cat": "four", "dog": "four", "horse": "four", "cow": "four", "bird": "two", "duck": "two", "chicken": "two", "spider": "eight", "ant": "six", "bee": "six", "fish": "no", "snake": "no", "person": "two", "table": "four",
        "sheep": "four", "butterfly": "six", "lion": "four", "elephant": "four", "mouse": "four", "owl": "two", "frog": "four", "beetle": "six"}
SOUNDS = {"dog": "woof", "cat": "meow", "cow": "moo", "sheep": "baa", "duck": "quack", "pig": "oink", "horse": "neigh", "owl": "hoot", "lion": "roar", "bee": "buzz", "mouse": "squeak", "frog": "croak", "snake": "hiss",
          "rooster": "cock-a-doodle-doo", "wolf": "howl", "hen": "cluck", "crow": "caw", "chick": "peep"}
OPPOSITES = "big:small|hot:cold|day:night|up:down|happy:sad|fast:slow|light:dark|open:closed|wet:dry|hard:soft|full:empty|old:young|loud:quiet|clean:dirty|left:right|high:low|good:bad|long:short|in:out|black:white|front:back|win:lose"
BABIES = "dog:puppy|cat:kitten|cow:calf|sheep:lamb|horse:foal|pig:piglet|hen:chick|duck:duckling|bear:cub|frog:tadpole|goat:kid|goose:gosling|lion:cub|deer:fawn|kangaroo:joey|owl:owlet"
NUM = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen".split()
MISC = """What do bees make?:Bees make honey.|What do cows give us?:Cows give us milk.|What do hens lay?:Hens lay eggs.|Where do fish live?:Fish live in water.|Where do birds live?:Many birds live in nests.|
What do rabbits eat?:Rabbits eat grass and carrots.|What do plants need?:Plants need water, light, and earth.|What falls from the clouds?:Rain falls from the clouds.|What do we see in the sky at night?:At night, we see the moon and the stars.|
What shines in the day?:The sun shines in the day.|How many days are in a week?:There are seven days in a week.|How many months are in a year?:There are twelve months in a year.|How many fingers do you have on one hand?:There are five fingers on one hand.|
How many seasons are there?:There are four seasons: spring, summer, fall, and winter.|When does snow fall?:Snow falls in winter, when it is cold.|What comes after Monday?:Tuesday comes after Monday.|What comes after Friday?:Saturday comes after Friday.|
What comes after winter?:Spring comes after winter.|What comes after night?:Morning comes after night.|What do we use to see?:We see with our eyes.|What do we use to hear?:We hear with our ears.|What do we use to smell?:We smell with our nose.|
What do we use to taste?:We taste with our tongue.|What do we wear on our feet?:We wear shoes on our feet.|What do we wear on our head?:We wear a hat on our head.|What do we wear on our hands when it is cold?:We wear gloves on our hands.|
What is ice made of?:Ice is frozen water.|What happens to ice when it gets warm?:It melts and turns into water.|What is cheese made from?:Cheese is made from milk.|What is bread made from?:Bread is made from flour.|What does a baker make?:A baker makes bread and cakes.|
What does a farmer do?:A farmer grows food and looks after animals.|What does a teacher do?:A teacher helps children learn.|What does a doctor do?:A doctor helps sick people.|Who puts out fires?:Firefighters put out fires.|Where do apples grow?:Apples grow on trees.|
Where do carrots grow?:Carrots grow in the ground.|What can a bird do that a dog can't do?:A bird can fly.|What has a long trunk?:An elephant has a long trunk.|What has a long neck?:A giraffe has a long neck.|What animal has stripes?:A zebra has stripes.|
What is round and bounces?:A ball is round and bounces.|How many wheels does a car have?:A car has four wheels.|How many wheels does a bike have?:A bike has two wheels.|How many eyes do you need to see well?:People have two eyes.|What do we drink when we are thirsty?:We drink water.|
What do we do when we are tired?:We go to bed and sleep.|What do we say when we get a gift?:We say thank you.|What do we say when we hurt someone?:We say that we are sorry.|What shape is a ball?:A ball is round.|What shape has three sides?:A triangle has three sides.|
How many sides does a square have?:A square has four sides.|Is fire hot or cold?:Fire is hot.|Is ice hot or cold?:Ice is cold.|Is an elephant big or small?:An elephant is big.|Is a mouse big or small?:A mouse is small.|Is a stone hard or soft?:A stone is hard.|Is a pillow hard or soft?:A pillow is soft.|
Can fish swim?:Yes, fish can swim.|Can a dog fly?:No, a dog can't fly.|Can a penguin fly?:No, a penguin can't fly, but it can swim.|Can a snail run fast?:No, a snail is very slow.|What does a caterpillar turn into?:A caterpillar turns into a butterfly.|What do we use to cut paper?:We cut paper with scissors.|
What do we use when it rains?:We use an umbrella when it rains.|What do we brush every day?:We brush our teeth every day.|What do we use to write?:We write with a pen or a pencil.|Where do we buy food?:We buy food in a shop or at the market.|Where do we borrow books?:We borrow books from the library.|
What is the first letter of the alphabet?:The first letter is A.|What is the last letter of the alphabet?:The last letter is Z.|What can you see after rain when the sun shines?:You can see a rainbow.|What do squirrels like to eat?:Squirrels like to eat nuts.|What do monkeys like to eat?:Monkeys like to eat bananas.|
What do you do with a book?:You read a book.|What do you do with a bed?:You sleep in a bed.|What do you do with a spoon?:You eat soup with a spoon.|What do sheep give us?:Sheep give us wool.|What is a baby tree in the ground called?:It is called a seed.|Where does the sun go up?:The sun goes up in the east.|
What do spiders make?:Spiders make webs.|What pulls a sled in the snow?:Dogs can pull a sled.|What do you need to fly a kite?:You need wind to fly a kite.""".replace("\n", "")


def facts():
    out = []
    for x in COLOUR_OF.split("|"):
        thing, col = x.split(":")
        out.append(([f"What is the color of {thing}?", f"What color is {thing}?", f"Do you know what color {thing} is?", f"Tell me the color of {thing}."], [f"{thing[0].upper() + thing[1:]} is {col}.", f"It is {col}."]))
    for k, n in LEGS.items():
        out.append(([f"How many legs does a {k} have?", f"How many legs are there on a {k}?", f"Do you know how many legs a {k} has?"], [f"A {k} has {n} legs."]))
    for k, x in SOUNDS.items():
        out.append(([f"What does a {k} say?", f"What sound does a {k} make?", f"How does a {k} go?"], [f"A {k} says {x}.", f"A {k} goes {x}."] if x not in ("howl", "roar") else [f"A {k} {x}s."]))
    for x in OPPOSITES.split("|"):
        for a, b in (x.split(":"), x.split(":")[::-1]):
            out.append(([f"What is the opposite of {a}?", f"What is the opposite of the word {a}?", f"Tell me the opposite of {a}."], [f"The opposite of {a} is {b}."]))
    for x in BABIES.split("|"):
        a, b = x.split(":")
        out.append(([f"What is a baby {a} called?", f"What do you call a baby {a}?"], [f"A baby {a} is called a {b}."]))
    for a in range(1, 10):
        out.append(([f"What number comes after {NUM[a]}?", f"What comes after {NUM[a]}?"], [f"{NUM[a + 1].capitalize()} comes after {NUM[a]}."]))
        out += [([f"What is {NUM[a]} plus {NUM[b]}?", f"How much is {NUM[a]} plus {NUM[b]}?"], [f"{NUM[a].capitalize()} plus {NUM[b]} is {NUM[a + b]}."]) for b in range(1, 6) if a < 6]
    for x in MISC.split("|"):
        q, a = x.split(":", 1)
        out.append(([q], [a]))
    return [([fix(q) for q in qs], [fix(a) for a in as_]) for qs, as_ in out]


FACTS = facts()
USER, BOT, EOT, END_DOC = "<|start_header_id|>user<|end_header_id|>\n\n", "<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>", "<|end_of_text|>\n"


def turn(question, answer):
    return f"{USER}{question}{EOT}{BOT}{answer}{EOT}"


def small_talk(rng):
    out = ""
    for _ in range(rng.choice([1, 1, 2, 3])):
        if rng.random() < .3:
            qs, as_ = (x.split("|") for x in rng.choice(list(HELLO.items())))
        else:
            qs, as_ = rng.choice(FACTS)
        out += turn(rng.choice(qs), rng.choice(as_))
    return out


def request(story, rng):
    """A request that really fits the story."""
    h, f = story.v["h"], story.v["f"]
    kinds = [f"a {rng.choice(['little ', 'small ', 'young ', ''])}{h.kind}"]
    if story.end == "brave":
        kinds.append(f"a brave {h.kind}")
    if h.named:
        kinds += [f"a {h.kind} named {h.ref}", h.ref]
    if story.uses_friend:
        kinds.append(f"{h.ref} and {f.ref}" if h.named and f.named else f"a {h.kind} and a {f.kind}" if f.kind != h.kind else f"two {h.kind}s")
    for t in story.themes:
        kinds += [story.expand(t)] * 2
    roll = rng.random()
    if roll < .08:
        text = rng.choice(ASK_ANY)
    elif roll < .25 and story.things:
        b = story.expand(rng.choice(story.things))
        text = rng.choice(ASK_TWO).format(a=f"a {h.kind}", b=f"a {b}" if b not in ("sweets", "music") else b)
    else:
        text = rng.choice(ASK).format(t=rng.choice(kinds))
    return fix(text)


def question(story, rng):
    h = story.v["h"]
    qa = list(story.qa) + [("How did {h} feel at the end?", "{h} felt {feel}.")] * bool(story.v["feel"])
    if h.named:
        qa += [(f"What was the {h.kind}'s name?", f"The {h.kind}'s name was {h.ref}."), ("Who is the story about?", f"The story is about a {h.kind} named {h.ref}.")]
        if h.kind in ANIMALS:
            qa.append(("What kind of animal was {h}?", f"{{h}} was a {h.kind}."))
    q, a = rng.choice(qa)
    return fix(story.expand(q)), fix(story.expand(a))


def story_text(rng):
    """A story of fitting length, with its state."""
    while True:
        story = Story(rng, rng.choice(PLOTS))
        text = story.tell()
        f = story.v["f"]
        story.uses_friend = text.count(f.ref) + text.count(f.ref.capitalize()) > 1
        if 90 <= len(text.split()) <= 270:
            return story, text


def document(rng):
    roll = rng.random()
    if roll < .70:
        return story_text(rng)[1] + END_DOC
    if roll < .73:
        return small_talk(rng) + END_DOC
    story, text = story_text(rng)
    out = turn(request(story, rng), text)
    if rng.random() < .22:
        out += turn(*question(story, rng))
    return out + END_DOC


def write(path, size, rng, seen):
    done = count = 0
    with open(path, "w", encoding="utf-8") as f:
        while done < size:
            doc = document(rng)
            if len(doc) > 600:
                if hash(doc) in seen:
                    continue
                seen.add(hash(doc))
            f.write(doc)
            done, count = done + len(doc.encode()), count + 1
    print(f"{path}: {count} documents, {done} bytes")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("out")
    args.add_argument("--megabytes", type=float, default=24)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--held")
    args.add_argument("--held-kilobytes", type=float, default=100)
    args = args.parse_args()
    seen = set()
    write(args.out, args.megabytes * 1e6, random.Random(f"train {args.seed}"), seen)
    if args.held:
        write(args.held, args.held_kilobytes * 1e3, random.Random(f"held {args.seed}"), seen)


if __name__ == "__main__":
    main()
