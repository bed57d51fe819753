package leavers

import (
	_ "embed"
	"strings"
)

//go:embed names.txt
var namesText string

// sections are the folded names of names.txt, by section.
var sections = func() map[string][]string {
	out, section := map[string][]string{}, ""
	for line := range strings.Lines(namesText) {
		line = strings.TrimSuffix(strings.TrimSpace(line), ",")
		if title, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(title, "]")
		} else if line != "" && line[0] != '#' {
			for name := range strings.SplitSeq(line, ",") {
				out[section] = append(out[section], fold(name))
			}
		}
	}
	return out
}()

// names are the column names with a certain meaning, by fold.
var names = func() map[string]meaning {
	out := map[string]meaning{}
	for section, m := range map[string]meaning{
		"project": isProject, "desktop": isDesktop, "computer": isComputer, "user": isUser, "person": namesPeople,
		"person or machine attribute": namesPeople | ofMachine, "machine attribute": ofMachine, "harmless": harmless,
	} {
		for _, name := range sections[section] {
			out[name] |= m
		}
	}
	return out
}()

// A column whose name has one of these may name a person, or a machine.
var (
	peopleParts, machineParts = sections["people parts"], sections["machine parts"]
	peopleWords, machineWords = set("people words"), set("machine words")
	othersWords, othersParts  = set("others"), sections["others parts"]
	qualifiers, givenNames    = set("qualifiers"), set("given names")
	questionWords             = set("question words")
)

// Attributes: the last word, the first word, or the end of a column's name.
var (
	attributes, attributesFirst = set("attribute last words"), set("attribute first words")
	attributeEnds               = sections["attribute ends"]
)

// What cells and names of columns say about leaving.
var (
	relations                             = set("relations")
	leavingParts, leavingWords, leftParts = sections["leaving parts"], set("leaving words"), sections["left parts"]
	stayParts, stayWords, stayValues      = sections["stay parts"], set("stay words"), set("stay values")
	removingWords                         = set("removing words")
	partTitles                            = sections["part titles"]
	statusParts, statusWords              = sections["status parts"], set("status words")
	typeParts                             = sections["type parts"]
	aboutLeaving, negations               = set("about leaving"), set("negations")
	noValues, nothings                    = set("no"), set("nothing")
	dayParts, dayWords                    = sections["day parts"], set("day words")
	dateParts, otherDates                 = sections["date parts"], sections["other dates"]
	rejectedParts, openParts              = sections["rejected parts"], sections["open parts"]
	approvalParts, approvedParts          = sections["approval parts"], sections["approved parts"]
	absenceParts, noticeParts, backParts  = sections["absence parts"], sections["notice parts"], sections["back parts"]
	saidParts, untilWords                 = sections["said parts"], set("until words")
	awayStates, requiredWords             = set("away states"), set("required words")
	goAhead, besideGoAhead                = set("go-ahead words"), set("beside go-ahead")
	stayingNames, besideStaying           = set("staying names"), set("beside staying")
	activeValues, vagueWords              = set("active values"), set("vague words")
	placeWords, yesValues                 = set("place words"), set("yes")
	checklist, besideRemoving             = set("checklist values"), set("beside removing")
	reviewWords                           = set("review words")
	hireParts, moveDates                  = sections["hire parts"], set("move dates")
	employmentParts                       = sections["employment parts"]
	stillWords, besideStill               = set("still words"), set("beside still")
	newWords, movedTo                     = set("new words"), set("moved to")
	totals, awayValues, reasonParts       = set("totals"), set("away values"), sections["reason parts"]
)

func set(section string) map[string]bool {
	out := map[string]bool{}
	for _, word := range sections[section] {
		out[word] = true
	}
	return out
}
