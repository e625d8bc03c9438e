#!/usr/bin/env python3
"""Writes text.txt, the calibration text that ships with the program: `make_text.py`. Deterministic.

All of it is ours: stories of our own grammar (models/train/stories.py), and the sentences, dialogues, lists, letters and code below, written for this
file and varied by filling in words. Facts in it are invented: only the shapes of sentences matter, since the text measures how activations are
distributed. It was tuned on no evaluation text and holds none.
"""
import pathlib
import random
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
R = random.Random(20261128)

NAMES = """Amara Bendt Chiara Dovid Esther Farouk Greta Hiro Ingrid Jonas Katya Lukas Mirela Nadia Omar Petra Quentin Rosa Stefan Tomas Ulla Viktor Wanda
Yusuf Zofia Alma Boris Celia Dario Elena Felix Gita Hannes Irina Jorge Klara Levin Marta Nils Oriana Pavel Ruth Selim Tamsin""".split()
SURNAMES = """Aldous Berrin Castell Dornan Eskel Farrow Grell Hallam Istvan Jarrow Kestrin Lindqvist Marchetti Norrell Okafor Pellam Quist Rennick
Sorvino Tavernier Ulrich Vantongeren Wexcombe Yarrow Zeller""".split()
PLACES = """Ardmoor Bellhaven Corvane Dunmere Eastwick Fallowdale Grenholm Harrowgate Islemont Kettering Larkfield Marrowby Northam Ostervale Pinecrest
Quarrington Redbrook Stavanger-on-Lake Thornbury Upper Wend Vallmark Westerhythe Yarrowford""".replace("Upper Wend", "Upperwend").split()
REGIONS = ["the northern province", "the river delta", "the coastal plain", "the western highlands", "the lake district", "the southern valleys",
           "the old kingdom", "the eastern islands"]
RIVERS = ["Ise", "Mell", "Tarn", "Oswin", "Varr", "Lune", "Corr", "Eddra"]
SUBJECTS = ["geology", "music", "astronomy", "medicine", "law", "botany", "engineering", "history", "chemistry", "economics", "linguistics", "painting"]
BEASTS = ["heron", "marsh beetle", "grey seal", "pine marten", "river trout", "mountain hare", "tree frog", "long-eared owl", "harbour crab", "moth"]
METALS = ["copper", "tin", "iron", "lead", "zinc", "silver", "nickel"]
MONTHS = "January February March April May June July August September October November December".split()


def year():
    return R.randint(1480, 2012)


def number(low, high):
    n = R.randint(low, high)
    return R.choice([str(n), f"{n:,}"])


def person():
    return f"{R.choice(NAMES)} {R.choice(SURNAMES)}"


def fill(text):
    """[a|b] picks one; <word> is a random word of that kind."""
    kinds = {"person": person, "name": lambda: R.choice(NAMES), "place": lambda: R.choice(PLACES), "region": lambda: R.choice(REGIONS),
             "river": lambda: "the " + R.choice(RIVERS), "year": lambda: str(year()), "n": lambda: number(3, 90), "big": lambda: number(1200, 98000),
             "subject": lambda: R.choice(SUBJECTS), "beast": lambda: R.choice(BEASTS), "metal": lambda: R.choice(METALS),
             "month": lambda: R.choice(MONTHS), "day": lambda: str(R.randint(1, 28)), "pc": lambda: f"{R.uniform(0.5, 60):.1f} %"}
    while "[" in text:
        text = re.sub(r"\[([^\[\]]*)\]", lambda m: R.choice(m.group(1).split("|")), text)
    return re.sub(r"<(\w+)>", lambda m: kinds[m.group(1)](), text)


ARTICLES = [
    ["<place> is a [town|village|small city|municipality] in <region>, [on the left bank of <river>|where <river> meets the sea|about <n> km from <place>]. "
     "At the census of <year> it had a population of <big>, [of whom <pc> were employed in farming|down from <big> ten years earlier|spread over <n> square kilometres].",
     "The [settlement|place] is first [mentioned|recorded] in <year>, when <person> [granted its market a charter|sold the mill to the abbey|fortified the bridge]. "
     "[A fire in <year> destroyed most of the wooden houses|The plague of <year> killed nearly a third of its people|During the war the town changed hands four times], "
     "and the [church|town hall|granary] that stands today [dates from|was completed in] <year>.",
     "The economy [was long based on|depended on] <metal> [mining|smelting] and [wool|salt|timber|linen]. The railway from <place> [reached it|was opened] in <year>; "
     "since its closure, [tourism|a paper mill|a plant that makes bearings] has been the largest employer. [Each <month> a fair is held on the common.|The museum keeps "
     "a collection of clocks.|Its football club has played in the second division since <year>.]"],
    ["<person> (<day> <month> <year> – <day> <month> <year>) was [a|an influential] [composer|botanist|engineer|novelist|surveyor|physician|painter] from <place>. "
     "[The third of seven children|The only daughter of a clockmaker|Orphaned at the age of nine], [the future scholar|the young artist] [studied <subject> at <place>|was "
     "apprenticed to a printer in <place>|learned Latin and Greek from an uncle].",
     "After [two|three|five] years [abroad|at sea|in the service of the duke], [success came with|the first major work was] \"[The Salt Road|On the Motion of Rivers|A "
     "Winter at Sea|Letters from the Marsh|The Glass Orchard]\" (<year>), which [critics praised for its clarity|was translated into nine languages|sold fewer than <n> copies]. "
     "A [dispute|correspondence] with <person> about [priority|the sources of the book|the use of colour] lasted until <year>.",
     "[Later critics have argued that|According to <person>,] the late works [show the influence of <subject>|abandon the strict forms of the early period|were written by a "
     "pupil]. [A crater on the far side of the moon|A street in <place>|A species of <beast>] bears the name."],
    ["The [common|lesser|banded|northern] <beast> is a species [found in <region>|native to wetlands and slow rivers|of the open country]. Adults reach a length of <n> cm and "
     "weigh up to <n> [grams|kilograms]; [females are larger than males|the sexes are alike in colour|the young are darker than their parents].",
     "It feeds [mainly|almost only] on [seeds, insects and small fish|worms and the larvae of beetles|leaves and bark], [at dusk|by night|in groups of up to <n>]. The breeding season "
     "[begins in <month>|lasts from <month> to <month>], and [two|three|four] to [five|six|nine] young are raised in a nest of [reeds|moss|dry grass].",
     "[Numbers have fallen by <pc> since <year>|The population is thought to be stable|Since <year> the species has been protected], [chiefly because marshes were drained|owing to "
     "warmer winters|although counts are difficult]. [It is not considered threatened.|A programme to return it to <place> began in <year>.]"],
    ["The [battle|siege|treaty] of <place> [took place|was fought|was signed] on <day> <month> <year>, [during the second war of the leagues|at the end of the winter campaign]. "
     "[An army of <big> men under <person>|The garrison, commanded by <person>,] [met|held out against] the forces of <person>, who [had crossed <river> the night before|lacked guns].",
     "[The centre gave way in the early afternoon|Fog hid the right wing until noon|A shortage of powder decided the day], and by evening [the losers had left <big> dead|the bridge was "
     "in flames|both commanders had withdrawn]. Historians disagree about [the number of the dead|whether the order to retreat was ever given|the role of the cavalry].",
     "[The peace that followed gave <place> to the crown|Its result was the fall of the council|Little changed in the year after]; [the border was drawn along <river>|prisoners were "
     "exchanged in <month>|taxes rose by <pc>]."],
    ["In <subject>, [a|the] [lattice|drift|closed path|residue|threshold] is [a quantity that measures|defined as|the part of a system that determines] how [quickly|far] [a signal|an element|a "
     "population] departs from its [mean|equilibrium|starting point]. The [term|idea] was introduced by <person> in <year>.",
     "If the [rate|ratio] is greater than [one|zero], the process [grows without bound|converges only slowly|cannot be reversed]; otherwise it [settles|returns to rest] after about <n> steps. "
     "[For small samples the estimate is biased, and a correction of <pc> is usual.|The proof uses induction on the number of terms.|In practice, tables are used.]",
     "[Applications include the design of bridges, the pricing of grain and the study of tides.|It should not be confused with the older notion of the same name.|A counterexample with <n> "
     "points was given by <person>.]"],
    ["\"[The Lamp at Number Nine|Harbour Lights|Slow Train to <place>|Nothing but Weather]\" is the [second|fourth|seventh] [album|film|episode|novel] by <person>, released [on <day> <month> <year>|in <year>]. "
     "It was [recorded|filmed|written] in <place> [over <n> days|with a budget of <big> crowns], and features <person> [on piano|as the lighthouse keeper|in a minor role].",
     "[Reviews were mixed|The reception was warm|Critics were divided]: one [called it \"a patient, stubborn piece of work\"|found the ending weak|compared it with the early songs of <person>], while another "
     "[complained of its length|admired the use of silence|thought it the best of the year]. It reached number <n> in the charts and sold <big> copies in its first [week|month]."],
]

DIALOGUES = [
    "\"[Have you seen my keys|Did you post the letter|Is the shop still open], <name>?\"\n\"[They were on the table this morning|Not yet, I was waiting for the rain to stop|Until six, I think].\"\n\"[Which table|Oh dear|Then we must "
    "hurry]?\"\n\"[The one by the window. No, wait: look under the newspaper.|I'll do it right now, I promise.|We have [ten|twenty] minutes. Take the umbrella.]\"\n<name> sighed and [looked again|put on a coat|shook "
    "her head]. \"[You always say that|It can't be helped|Thank you],\" she said[, but she was smiling|quietly|].",
    "User: [How do I|What is the best way to|Can you tell me how to] [boil an egg|remove a wine stain|learn the names of the stars|write a letter of complaint|split a number into prime factors]?\nAssistant: [Start with|First, "
    "take] [cold water|the oldest rule|a clear idea of what you want]. Then [wait <n> minutes|work slowly from the outside to the middle|divide by the smallest number that fits, and go on with the rest]. If that does not "
    "help, [try again with salt|ask someone who has done it before|check each step]. Would you like [an example|more detail|a list]?\nUser: [Yes, please|No, thanks, that is enough|Only if it is short].\nAssistant: "
    "[Of course. Here it is in three steps: prepare, act, check.|Good luck! Let me know how it goes.|All right: keep it simple, and do not rush.]",
    "Interviewer: [You grew up in <place>|Your first book came out in <year>|People call you difficult]. [What do you remember|How did that feel|Is it true]?\n<person>: [Mostly the noise. My father repaired engines, and we lived above the "
    "workshop.|Well, I was twenty-two and knew everything.|Difficult people are only people who read the contract.] [I don't think about it often.|It took me years to see it.|(laughs) Next question.]",
    "Dear <name>,\n\n[thank you for your letter of <day> <month>|I am sorry that I have not written for so long|we arrived safely last night]. [The weather has been dreadful|Everyone here asks after you|The garden is full of plums], and [the roof "
    "leaks in two places|I have begun to learn the violin|the children talk of nothing else]. [Could you send me|Please do not forget] the [papers|recipe|address] that [we spoke of|you promised]? [I would need it before the end of "
    "<month>.|There is no hurry.]\n\n[With love|Yours sincerely|Best wishes],\n<name>",
    "Q: [A train leaves at 9:40 and travels <n> km at 60 km per hour. When does it arrive|If a farmer has <n> sheep and sells half of them, how many are left, and what if one comes back|What is the capital of <region>|Who wrote the "
    "report on <metal> prices]?\nA: [We divide the distance by the speed to get the time in hours, multiply by 60 to get minutes, and add them to 9:40.|Half of them remain; if the number is odd the question makes no sense. One more makes one more than half.|"
    "The seat of government has been <place> since <year>; before that it was <place>.|It was written by <person>, with help from <person>.]",
]

PROSE = [
    "The rain had stopped [before dawn|an hour ago|at last], and the [road|yard|square] shone like [slate|glass|wet fur]. <name> stood at the [window|gate|top of the stairs] and counted the [carts|lamps|steps], as [she|he] did whenever there was "
    "something to decide. [Nobody had come.|Only the postman had come.|Somewhere a door banged.] The letter lay where it had been [thrown|left], and it would not [read itself|go away|answer anything].",
    "There are two ways to [build a wall|keep a promise|lose an argument]: [slowly and well|at once|with witnesses], or [so that it must be done again|not at all|alone]. My grandmother, who had [buried two husbands|never left <place>|kept bees for <n> "
    "years], preferred the first. \"[Measure the ground, not the sky|Ask the price first|Never thank a man for what he owes],\" she used to say, and [we laughed|we wrote it down|nobody dared to ask what it meant].",
    "Scientists [at the institute in <place>|led by <person>] [report|said on <day> <month>] that [a new alloy of <metal> and <metal>|a simple change to the way milk is stored|the movement of ice in <region>] [could cut costs by <pc>|lasts up to <n> "
    "times longer|was faster than models predicted]. [The team measured <big> samples over <n> months.|\"We did not believe it at first,\" said <person>.] [The results have not been checked by others.|Field trials are to begin in <month>.|Shares rose by <pc>.]",
    "[To make|For] [plum cake|lentil soup|flat bread|apple jam], you will need: <n> g of flour, [two|three] eggs, a pinch of salt, and [half a litre of milk|a spoon of honey|the juice of one lemon]. [Mix|Stir] everything [until smooth|with a wooden spoon], "
    "[cover it|leave it to rest] for <n> minutes, then [bake|cook] at 180 °C [until golden|for another <n> minutes]. [Serve warm.|Let it cool before cutting.|It keeps for a week in a tin.]",
    "[Under the terms of this agreement|For the purposes of this section|Subject to clause <n>], the [tenant|supplier|licensee] shall [pay|deliver|return] [the sum of <big> crowns|all goods in good condition|any documents received] not later than <n> days after "
    "[written notice|the date of signature|<day> <month>]. [Failure to do so|Any breach] [entitles the other party to terminate|shall bear interest at <pc> a year], [without prejudice to other remedies|unless caused by events beyond reasonable control].",
]

LISTS = [
    lambda: "Things to do:\n" + "\n".join(f"- {fill(x)}" for x in R.sample(["buy [bread|stamps|nails]", "call <name> about the [roof|party|invoice]", "return the [book|ladder] to <name>", "water the plants", "pay the [rent|gas bill] (<big>)",
                                                                     "book a table for <n>", "write to <person>", "fix the [lamp|bicycle|door]"], 5)),
    lambda: "| year | place | total | share |\n|---|---|---|---|\n" + "\n".join(fill(f"| {1960 + 5 * i} | <place> | <big> | <pc> |") for i in range(5)),
    lambda: "\n".join(f"{i}. {fill(x)}" for i, x in enumerate(R.sample(["Open the [valve|window|file].", "Remove the [cover|label|old seal] and keep the screws.", "Press and hold for <n> seconds.", "Wait until the light is [green|off].",
                                                                        "Repeat with the other side.", "Do not use [force|oil|hot water].", "Close everything in the reverse order."], 5), 1)),
    lambda: ", ".join(f"{R.randint(1, 40)} {w}" for w in R.sample(["apples", "boxes", "chairs", "metres of rope", "sheets of glass", "candles", "buckets", "spoons"], 6)) + ".",
    lambda: "\n".join(f"{a} {o} {b} = {eval(f'{a}{o}{b}')}" for a, o, b in [(R.randint(2, 99), R.choice("+-*"), R.randint(2, 99)) for _ in range(6)]),
]

OTHER = """Der Zug nach <place> fährt heute von Gleis sieben ab. Bitte beachten Sie, dass die Wagen der zweiten Klasse am Ende halten. Die alte Frau lächelte, nahm ihren Koffer und sagte: „Es ist noch Zeit für einen Kaffee.“
Le marché de <place> ouvre à six heures du matin. On y vend des pommes, du fromage, des œufs et parfois de vieux livres. « Vous êtes en retard », dit le boulanger en riant, « mais il reste du pain. »
El río baja despacio en verano y los niños se bañan bajo el puente. Nadie recuerda quién lo construyó; dicen que fue <name>, el herrero, en el año <year>. ¿Quién sabe? Ya no importa.
Il vecchio faro è chiuso dal <year>. Ogni sera, però, <name> sale le scale e accende una lampada, perché suo padre lo faceva e perché, dice, il mare non ha orologio.
De winkel aan de gracht verkoopt fietsen en oude kaarten. Wie binnenkomt, krijgt eerst thee. Pas daarna wordt er over de prijs gesproken, en dat kan lang duren.
O barco partiu ao amanhecer, carregado de sal e de cartas. Na praia ficaram as mulheres, um cão e o silêncio. Voltará em <month>, se o vento quiser.
Zima w górach trwa długo. Drogi są białe, a wieczorami ludzie siedzą przy piecu i opowiadają o wilkach, których od lat nikt nie widział.
Снег шёл всю ночь, и к утру деревня стала тихой и белой. Старый мельник открыл дверь, посмотрел на небо и сказал, что весна будет поздняя.
雨が朝からずっと降っている。駅までの道は静かで、傘をさした人が二人だけ歩いていた。「今日は何曜日ですか」と子供が聞いた。
市场上人很多，卖水果的老人把最大的苹果留给了孩子。他说：“明年春天，我们再种几棵树。”
كان البيت القديم قرب النهر، وكانت نوافذه مفتوحة طوال الصيف. قال الجد: الماء يعرف الطريق.
Deniz sakindi, balıkçılar ağlarını topluyordu. Küçük kız babasına sordu: yarın da gelecek miyiz?""".split("\n")

CODE = [
    "def <name>_total(values, limit=<n>):\n    \"\"\"Sum of the values that are below the limit.\"\"\"\n    total = 0\n    for i, value in enumerate(values):\n        if value is None or value >= limit:\n            continue\n        total += value * (i + 1)\n    return total\n",
    "fn longest(words: &[String]) -> Option<&String> {\n    words.iter().max_by_key(|w| w.chars().count())\n}\n\nfn main() {\n    let words: Vec<String> = std::env::args().skip(1).collect();\n    match longest(&words) {\n        Some(w) => println!(\"{w}: {}\", w.len()),\n        None => eprintln!(\"no words\"),\n    }\n}\n",
    "SELECT place, COUNT(*) AS visits, AVG(price) AS mean_price\nFROM bookings\nWHERE year BETWEEN <year> AND <year> AND status <> 'cancelled'\nGROUP BY place\nHAVING COUNT(*) > <n>\nORDER BY visits DESC;\n",
    "#include <stdio.h>\n\nint main(void) {\n    int n, sum = 0;\n    while (scanf(\"%d\", &n) == 1) {\n        if (n < 0) break;\n        sum += n % <n>;\n    }\n    printf(\"sum = %d\\n\", sum);\n    return 0;\n}\n",
    "{\"id\": <n>, \"name\": \"<person>\", \"tags\": [\"new\", \"<metal>\"], \"address\": {\"street\": \"<place> Road <n>\", \"zip\": \"<n>-<n>\"}, \"active\": true, \"score\": null}\n",
    "<!DOCTYPE html>\n<html>\n<head><title><place></title></head>\n<body>\n  <h1>Welcome to <place></h1>\n  <p class=\"note\">Open from <n> to <n>.</p>\n  <ul><li><name></li><li><name></li></ul>\n</body>\n</html>\n",
    "for f in *.txt; do\n  n=$(wc -l < \"$f\")\n  if [ \"$n\" -gt <n> ]; then echo \"$f: $n lines\"; fi\ndone | sort -k2 -n > report.log\n",
]


def code(text):
    kinds = ("person", "name", "place", "metal", "n", "year")
    return re.sub(r"<(%s)>" % "|".join(kinds), lambda m: fill(m.group(0)).replace(",", ""), text)


def article():
    return "\n\n".join(fill(p) for p in R.choice(ARTICLES))


def stories(kilobytes):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "stories.txt"
        subprocess.run([sys.executable, ROOT / "models/train/stories.py", path, "--megabytes", str(kilobytes / 1000), "--seed", "20261128"], check=True,
                       stdout=subprocess.DEVNULL)
        text = path.read_text()
    text = text.replace("<|start_header_id|>user<|end_header_id|>\n\n", "User: ").replace("<|start_header_id|>assistant<|end_header_id|>\n\n", "\nAssistant: ")
    return [re.sub(r"<\|[a-z_]+\|>", "", d).strip() for d in text.split("<|end_of_text|>") if d.strip()]


def main():
    pieces = stories(60)
    pieces += [article() for _ in range(90)]
    pieces += [fill(R.choice(DIALOGUES)) for _ in range(40)]
    pieces += [fill(R.choice(PROSE)) for _ in range(50)]
    pieces += [R.choice(LISTS)() for _ in range(24)]
    pieces += [fill(x) for x in OTHER]
    pieces += [code(x) for x in CODE] + [code(R.choice(CODE)) for _ in range(4)]
    R.shuffle(pieces)
    text = "\n\n".join(pieces) + "\n"
    (HERE / "text.txt").write_text(text)
    print(f"{len(pieces)} pieces, {len(text.encode())} bytes")


if __name__ == "__main__":
    main()
