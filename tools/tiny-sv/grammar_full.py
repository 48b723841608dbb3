"""Random Swedish sentences from a small grammar (~290 word forms)."""

import random

# fmt: off
SUBJ_D = ["läkaren", "patienten", "sköterskan", "chefen", "läraren", "pojken", "flickan", "kvinnan", "mannen",
          "barnet", "hunden", "katten", "gruppen", "föreningen", "ordföranden", "sekreteraren", "grannen", "kunden",
          "studenten", "familjen", "Anna", "Erik", "Maria", "Johan", "Karin", "Lars"]
PRON = ["jag", "du", "han", "hon", "vi", "ni", "de", "man"]
SUBJ_P = ["barnen", "läkarna", "patienterna", "eleverna", "föräldrarna", "deltagarna", "kollegorna"]
V_T = ["ser", "köper", "läser", "skriver", "hämtar", "tar", "behöver", "glömmer", "visar", "söker", "beställer",
       "lämnar", "flyttar", "öppnar", "stänger", "kontrollerar", "diskuterar", "godkänner", "får", "har", "väljer", "hittar"]
V_T_INF = ["köpa", "läsa", "skriva", "hämta", "behöva", "visa", "söka", "beställa", "lämna", "flytta", "öppna",
           "stänga", "kontrollera", "diskutera", "godkänna", "hitta"]
V_I = ["arbetar", "väntar", "sover", "springer", "sitter", "står", "bor", "äter", "pratar", "sjunger", "vilar", "börjar", "reser"]
V_I_INF = ["arbeta", "vänta", "sova", "springa", "sitta", "bo", "äta", "prata", "sjunga", "vila", "börja", "resa"]
AUX = ["kan", "vill", "ska", "måste", "brukar", "kunde", "skulle"]
OBJ = ["boken", "brevet", "rapporten", "protokollet", "journalen", "medicinen", "receptet", "provet", "bilen", "cykeln",
       "nyckeln", "dörren", "fönstret", "maten", "kaffet", "mjölken", "brödet", "äpplet", "frågan", "svaret",
       "förslaget", "budgeten", "planen", "listan", "telefonen", "datorn", "väskan", "tidningen", "biljetten", "kartan"]
NOUN_PL = ["böcker", "brev", "rapporter", "tabletter", "bilar", "cyklar", "nycklar", "äpplen", "frågor", "förslag",
           "kronor", "timmar", "minuter", "dagar", "veckor", "stolar", "personer", "möten", "gram", "liter"]
ADJ_PL = ["nya", "gamla", "stora", "små", "röda", "blå", "gröna", "vita", "svarta", "viktiga", "korta", "långa"]
PLACE = ["i skolan", "på sjukhuset", "på kontoret", "i köket", "i trädgården", "vid bordet", "på stationen", "i Stockholm",
         "i Göteborg", "i Malmö", "på biblioteket", "i affären", "på avdelningen", "hos tandläkaren", "på vårdcentralen",
         "vid sjön", "i skogen", "på torget", "under bron", "i huset", "på mötet", "utanför kyrkan", "vid havet", "på landet"]
DAY = ["måndag", "tisdag", "onsdag", "torsdag", "fredag", "lördag", "söndag"]
NUM = ["noll", "ett", "två", "tre", "fyra", "fem", "sex", "sju", "åtta", "nio", "tio", "elva", "tolv", "tretton",
       "fjorton", "femton", "sexton", "sjutton", "arton", "nitton", "tjugo"]
TIME = ["idag", "imorgon", "ikväll", "nu", "ofta", "alltid", "varje dag", "i sommar", "efter lunch", "före frukost"]
ADV = ["snabbt", "långsamt", "ganska bra", "mycket", "tillsammans", "ensam", "igen", "först"]
ADJ_S = ["trött", "glad", "sjuk", "frisk", "hungrig", "nöjd", "klar", "sen", "ledig", "säker"]
MED = ["feber", "hosta", "huvudvärk", "ont i ryggen", "ont i magen", "ont i halsen", "högt blodtryck", "svårt att sova"]
SHORT = ["Ja.", "Nej.", "Tack.", "Hej.", "God morgon.", "Tack så mycket.", "Det stämmer.", "Välkommen.", "Vi börjar nu.",
         "Mötet är avslutat.", "Ja, tack.", "Nej, inte idag.", "Hej, hej.", "Det är bra.", "Vi tar en paus."]
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
        return f"{s} är {(c(['inte', 'mycket', 'lite', 'alltid']) + ' ') if r.random() < 0.4 else ''}{c(ADJ_S)}{tail()}"
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
        s = clause() + c([", men ", ", och ", ", för ", ", så "]) + clause()
    elif u < 0.77:
        s = f"om {clause()}, {c(V_T)} {c(PRON)} {obj()}"
    elif u < 0.83:
        s = digits()
    elif u < 0.90:
        s = c(SHORT)
    elif u < 0.93:
        s = c(["punkt", "nummer", "rum", "sida"]) + " " + c(NUM)
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
    w += "är inte lite kostar kronor klockan och men för så om punkt nummer rum sida".split()
    return sorted(set(w))


WORDS[:] = _allwords()
