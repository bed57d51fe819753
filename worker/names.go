package worker

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/worker/policy"
)

// nearPeople returns the quoted names of users that an unknown name probably means.
func nearPeople(name string, people []apiclient.Person) []string {
	out := nearNames(name, people)
	for i := range out {
		out[i] = fmt.Sprintf("%q", out[i])
	}
	return fewSorted(out)
}

// nearNames returns the names of users that are written like a name.
func nearNames(name string, people []apiclient.Person) (out []string) {
	forms := policy.UserForms(name)
	for _, p := range people {
		theirs := append(policy.UserForms(p.Name), policy.UserForms(p.Email)...)
		if slices.ContainsFunc(theirs, func(form string) bool { return slices.Contains(forms, form) }) {
			out = append(out, p.Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// computerForms returns the forms in which people write a computer's name: in lower and upper
// case, without its DNS suffix, its domain, or the $ of a directory account.
func computerForms(name string) []string {
	name = norm.NFKC.String(name)
	if i := strings.LastIndexAny(name, `\/`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.TrimSuffix(name, "$")
	forms := []string{name}
	if host, _, found := strings.Cut(name, "."); found {
		forms = append(forms, host)
	}
	for _, form := range forms {
		forms = append(forms, strings.ToLower(form), strings.ToUpper(form))
	}
	slices.Sort(forms)
	return slices.DeleteFunc(slices.Compact(forms), func(s string) bool { return s == "" })
}

// nearComputers returns the quoted names of computers that an unknown name probably means.
func nearComputers(name string, listed []apiclient.Desktop) []string {
	var forms, out []string
	for _, form := range computerForms(name) {
		forms = append(forms, policy.FoldName(form))
	}
	for _, d := range listed {
		if slices.Contains(forms, policy.FoldName(d.ComputerName)) {
			out = append(out, fmt.Sprintf("%q", d.ComputerName))
		}
	}
	return fewSorted(out)
}

// fewSorted returns the first of a list, sorted, each once.
func fewSorted(list []string) []string {
	slices.Sort(list)
	list = slices.Compact(list)
	if more := len(list) - 5; more > 0 {
		list = append(list[:5:5], fmt.Sprintf("and %d more", more))
	}
	return list
}
