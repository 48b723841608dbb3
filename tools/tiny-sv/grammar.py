"""Random Swedish sentences from a small grammar (~180 word forms)."""

import random

# fmt: off
SUBJ_D = ["läkaren", "patienten", "sköterskan", "chefen", "pojken", "flickan", "barnet", "hunden", "katten", "gruppen",
          "ordföranden", "grannen", "familjen", "Anna", "Erik", "Maria", "Johan"]
PRON = ["jag", "du", "han", "hon", "vi"]
SUBJ_P = ["barnen", "eleverna", "deltagarna"]
V_T = ["ser", "köper", "läser", "skriver", "hämtar", "behöver", "glömmer", "visar", "öppnar", "diskuterar", "har"]
V_T_INF = ["köpa", "läsa", "skriva", "hämta", "visa", "öppna", "diskutera"]
V_I = ["arbetar", "väntar", "sover", "springer", "sitter", "äter", "pratar"]
V_I_INF = ["arbeta", "vänta", "sova", "äta"]
AUX = ["kan", "vill", "ska", "måste"]
OBJ = ["boken", "brevet", "rapporten", "protokollet", "journalen", "medicinen", "bilen", "cykeln", "nyckeln", "dörren",
       "maten", "kaffet", "mjölken", "äpplet", "frågan", "förslaget", "budgeten", "telefonen"]
NOUN_PL = ["böcker", "bilar", "tabletter", "frågor", "kronor", "timmar", "dagar", "möten"]
ADJ_PL = ["nya", "gamla", "stora", "röda", "blå", "viktiga"]
PLACE = ["i skolan", "på sjukhuset", "på kontoret", "i köket", "i trädgården", "vid bordet", "i Stockholm", "i Göteborg",
         "på avdelningen", "vid sjön", "på mötet", "under bron"]
DAY = ["måndag", "tisdag", "onsdag", "torsdag", "fredag", "lördag", "söndag"]
NUM = ["noll", "ett", "två", "tre", "fyra", "fem", "sex", "sju", "åtta", "nio", "tio", "elva", "tolv", "tretton",
       "fjorton", "femton", "sexton", "sjutton", "arton", "nitton", "tjugo"]
TIME = ["idag", "imorgon", "nu", "ofta", "alltid"]
ADV = ["snabbt", "tillsammans"]
ADJ_S = ["trött", "glad", "sjuk", "hungrig", "klar"]
MED = ["feber", "hosta", "huvudvärk", "ont i ryggen"]
SHORT = ["Ja.", "Nej.", "Tack.", "Hej.", "God morgon.", "Det stämmer.", "Välkommen.", "Vi börjar nu.", "Mötet är avslutat.", "Ja, tack.", "Nej, inte idag."]
# fmt: on
r = random


def c(x):
    return r.choice(x)


def subj():
    u = r.random()
    return c(SUBJ_D) if u < 0.55 else c(PRON) if u < 0.85 else c(SUBJ_P)


def num2():
    return c(NUM[2:])


def obj():
    u = r.random()
    if u < 0.6:
        return c(OBJ)
    if u < 0.8:
        return num2() + " " + c(NOUN_PL)
    if u < 0.93:
        return num2() + " " + c(ADJ_PL) + " " + c(NOUN_PL)
    return c(OBJ) + " och " + c(OBJ)


def tail():
    u = r.random()
    if u < 0.35:
        return ""
    if u < 0.65:
        return " " + c(PLACE)
    if u < 0.8:
        return " på " + c(DAY)
    if u < 0.92:
        return " " + c(TIME)
    return " klockan " + num2()


def clause():
    u = r.random()
    s = subj()
    if u < 0.30:
        return f"{s} {c(V_T)} {obj()}{tail()}"
    if u < 0.42:
        return f"{s} {c(V_I)}{(' ' + c(ADV)) if r.random() < 0.4 else ''}{tail()}"
    if u < 0.56:
        return f"{s} {c(AUX)} {c(V_T_INF)} {obj()}{tail()}"
    if u < 0.64:
        return f"{s} {c(AUX)} {c(V_I_INF)}{tail()}"
    if u < 0.72:
        return f"{s} är {(c(['inte', 'alltid']) + ' ') if r.random() < 0.4 else ''}{c(ADJ_S)}{tail()}"
    if u < 0.80:
        return f"{s} har {c(MED)}{tail()}"
    if u < 0.87:
        return f"på {c(DAY)} {c(V_T)} {s} {obj()}"
    if u < 0.93:
        return f"{c(OBJ)} kostar {num2()} kronor"
    return f"klockan är {num2()}"


def digits():
    return " ".join(c(NUM) for _ in range(r.randint(1, 7)))


def sentence():
    u = r.random()
    if u < 0.62:
        s = clause()
    elif u < 0.72:
        s = clause() + c([", men ", ", och ", ", så "]) + clause()
    elif u < 0.77:
        s = f"om {clause()}, {c(V_T)} {c(PRON)} {obj()}"
    elif u < 0.83:
        s = digits()
    elif u < 0.90:
        s = c(SHORT)
    elif u < 0.93:
        s = c(["nummer", "rum", "sida"]) + " " + c(NUM)
    else:
        s = " ".join(c(WORDS) for _ in range(r.randint(1, 7)))
    if len(s.split()) > 12:
        return sentence()
    s = s.rstrip(".")
    return s[0].upper() + s[1:] + "."


WORDS = []


def _allwords():
    w = []
    for l in (
        SUBJ_D,
        PRON,
        SUBJ_P,
        V_T,
        V_T_INF,
        V_I,
        V_I_INF,
        AUX,
        OBJ,
        NOUN_PL,
        ADJ_PL,
        PLACE,
        DAY,
        NUM,
        TIME,
        ADV,
        ADJ_S,
        MED,
    ):
        for x in l:
            w += x.split()
    for x in SHORT:
        w += [y.strip(".,").lower() for y in x.split()]
    w += "är inte kostar kronor klockan och men så om nummer rum sida".split()
    return sorted(set(w))


WORDS[:] = _allwords()
