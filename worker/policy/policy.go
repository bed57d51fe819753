package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/tasks"
)

// ClassRow says what is done about errors of a class, and what a person can do about
// desktops that failed with it.
type ClassRow struct {
	Class  tasks.Class
	Does   string
	Advice string
}

// Classes gives the classes, with what is done about each.
func Classes() []ClassRow {
	return []ClassRow{
		{tasks.ClassTransient, "passes by itself: retried with backoff, one attempt spent", "the tries were used up, or the deadline passed: redrive it once the service is well"},
		{tasks.ClassThrottled, "refused for now: the whole project waits, no attempt spent", "nothing: it goes on by itself; if it lasts, lower the limits of the project"},
		{tasks.ClassConflict, "a desktop is busy: it is set aside and retried, the others go on", "see in the console what the desktop is doing, and redrive it when that is done"},
		{tasks.ClassAmbiguous, "it may have taken effect: the desktops are read before anything is sent again", "look at the desktop in the console, then redrive it: it is read before anything is sent"},
		{tasks.ClassPoison, "one desktop spoils the call: the batch is split until it is alone, and it fails if it is still attached", "the cloud does not take this desktop: mend in the console what the message says, then redrive it"},
		{tasks.ClassAuth, "the credentials were refused: the project pauses, no attempt spent", "mend the project's credentials, then resume the project"},
		{tasks.ClassPolicy, "the account may not, or the endpoint is wrong: the project pauses, no attempt spent", "mend the rights of the IAM user, the endpoint or the account, then resume the project"},
		{tasks.ClassNotAPI, "not an answer of the API, but of a proxy, a firewall or another server: the project pauses, no attempt spent", "see to it that the project's endpoint can be reached directly, then resume the project"},
		{tasks.ClassDenied, "refused, and no desktop is named: tried down to single desktops; the project pauses when eight calls in a row got it, no attempt spent", "give the IAM user the right that the message names, then resume the project"},
		{tasks.ClassLocal, "the request is not one that can be sent: the batch is split until the desktop is alone, and it fails", "correct the id that the message names, and ask again"},
		{tasks.ClassPermanent, "no retry can mend it: failed if it is still attached", "mend in the console what the message says, then redrive it"},
		{tasks.ClassHeld, "not the cloud's: a guard held it, and a person decides", "settle whose the desktop is, or what state it is in, then retry it; or cancel the operation"},
	}
}

// Rule is a row of the table of what an error code means. Status 0 and an empty
// Code match everything, a Status of one digit everything that begins with it; a
// Code that ends in "*" matches by its beginning. The first row that matches
// wins. An error that can have had an effect is Ambiguous whatever the table says.
type Rule struct {
	Of     RuleOf // what was refused
	Status int    // HTTP status of the call
	Code   string // error_code
	Class  tasks.Class
	Why    string // for people
}

// RuleOf says whether a whole call was refused, or one desktop listed in a 200.
type RuleOf string

// What a Rule is about. OfWorker are codes that are not the cloud's but a worker's
// own; nobody can add any.
const (
	OfCall    RuleOf = "call"
	OfDesktop RuleOf = "desktop"
	OfWorker  RuleOf = "worker"
)

// Problem says what is wrong with a rule that somebody adds.
func (r Rule) Problem() string {
	classes := []tasks.Class{tasks.ClassTransient, tasks.ClassThrottled, tasks.ClassConflict, tasks.ClassAmbiguous, tasks.ClassPoison, tasks.ClassAuth, tasks.ClassPolicy, tasks.ClassNotAPI, tasks.ClassDenied, tasks.ClassPermanent}
	if r.Of == OfDesktop {
		classes = []tasks.Class{tasks.ClassTransient, tasks.ClassConflict, tasks.ClassPermanent}
	}
	switch {
	case r.Of != OfCall && r.Of != OfDesktop:
		return fmt.Sprintf("is of %q: call or desktop", r.Of)
	case !slices.Contains(classes, r.Class):
		return fmt.Sprintf("has the class %q, which a refused %s cannot have", r.Class, r.Of)
	case r.Status == 0 && strings.TrimSuffix(r.Code, "*") == "":
		return "would match everything"
	}
	return ""
}

// callRules says what the refusal of a whole call means. Sources: the API page
// of DetachInstances (statuses), the gateway's error code page (APIGW.*), and
// codes that Huawei's own Terraform provider handles (WKS.*). What is not
// listed falls to the rows at the end, by status.
var callRules = []Rule{
	{OfCall, 429, "", tasks.ClassThrottled, "the gateway's throttling; not executed"},
	{OfCall, 0, "APIGW.0308", tasks.ClassThrottled, "the gateway's throttling; not executed"},

	{OfCall, 401, "", tasks.ClassAuth, "the credentials were refused"},
	{OfCall, 0, "APIGW.0301", tasks.ClassAuth, "incorrect IAM authentication information"},
	{OfCall, 0, "APIGW.0303", tasks.ClassAuth, "incorrect app authentication: signature or clock"},
	{OfCall, 0, "APIGW.0307", tasks.ClassAuth, "the token must be updated"},

	{OfCall, 0, "APIGW.0101", tasks.ClassPolicy, "no such API: wrong endpoint, region or project"},
	{OfCall, 0, "APIGW.0103", tasks.ClassPolicy, "no such back end: wrong endpoint or region"},
	{OfCall, 0, "APIGW.0302", tasks.ClassPolicy, "the IAM user is not authorised for the API"},
	{OfCall, 0, "APIGW.0304", tasks.ClassPolicy, "not allowed to access the API"},
	{OfCall, 0, "APIGW.0305", tasks.ClassPolicy, "not allowed to access the API"},
	{OfCall, 0, "APIGW.0306", tasks.ClassPolicy, "not allowed to access the API"},
	{OfCall, 0, "APIGW.0310", tasks.ClassPolicy, "the project is unavailable"},
	{OfCall, 0, "APIGW.0401", tasks.ClassPolicy, "this client's address is not allowed"},
	{OfCall, 0, "APIGW.0402", tasks.ClassPolicy, "this client's address is not allowed"},
	{OfCall, 0, "APIGW.0404", tasks.ClassPolicy, "this client's address is not allowed"},
	{OfCall, 0, "APIGW.0501", tasks.ClassPolicy, "the quota is used up"},
	{OfCall, 0, "APIGW.0502", tasks.ClassPolicy, "the account is frozen"},
	{OfCall, 0, "APIGW.0802", tasks.ClassPolicy, "the IAM user is forbidden in this region"},
	{OfCall, 0, "WKS.00010099", tasks.ClassPolicy, "the Workspace service is disabled"},
	{OfCall, 0, "WKS.00170117", tasks.ClassPolicy, "the tenant does not exist"},

	{OfCall, 409, "", tasks.ClassConflict, "operation conflict: a desktop is in a state that denies it"},
	{OfCall, 0, "WKS.00010032", tasks.ClassConflict, "operation conflict: a desktop is in a state that denies it"},
	{OfCall, 0, "WKS.0407", tasks.ClassConflict, "disks are being added to a desktop"},

	{OfCall, 0, "APIGW.0613", tasks.ClassTransient, "IAM is unavailable; not executed"},
	{OfCall, 0, "WKS.00050902", tasks.ClassTransient, "the service is unavailable; not executed"},

	{OfCall, 407, "", tasks.ClassNotAPI, "a proxy wants credentials of its own"},
	{OfCall, 3, "", tasks.ClassNotAPI, "a redirect: the API does not answer like that"},
	{OfCall, 405, "", tasks.ClassPermanent, "the request itself is wrong"},
	{OfCall, 413, "", tasks.ClassPermanent, "the request itself is wrong"},
	{OfCall, 414, "", tasks.ClassPermanent, "the request itself is wrong"},
	{OfCall, 415, "", tasks.ClassPermanent, "the request itself is wrong"},

	{OfCall, 400, "", tasks.ClassPoison, "a desktop of the batch is not acceptable"},
	{OfCall, 403, "", tasks.ClassDenied, "no permission: for a desktop of the batch, or for the whole project"},
	{OfCall, 404, "", tasks.ClassDenied, "not found: a desktop of the batch, or the whole project"},
	{OfCall, 422, "", tasks.ClassPoison, "a desktop of the batch is not acceptable"},

	{OfCall, 4, "", tasks.ClassPermanent, "the request itself is wrong"},
	{OfCall, 0, "", tasks.ClassTransient, "no connection, or a fault that says it was not executed"},
}

// desktopRules says what the refusal of one desktop, listed in a 200, means.
// The public documentation lists no codes for it, so what is not known is tried
// again a few times and then left to a person.
var desktopRules = []Rule{
	{OfDesktop, 0, "WKS.00010032", tasks.ClassConflict, "the desktop is in a state that denies it"},
	{OfDesktop, 0, "WKS.0407", tasks.ClassConflict, "disks are being added"},
	{OfDesktop, 0, "WKS.0005", tasks.ClassTransient, "the computing service could not be reached"},
	{OfDesktop, 0, "WKS.0009", tasks.ClassTransient, "IAM could not be reached"},
	{OfDesktop, 0, "WKS.00129901", tasks.ClassTransient, "the service cannot do it now"},
	{OfDesktop, 0, "WKS.00211401", tasks.ClassTransient, "the operation failed and may be repeated"},
	{OfDesktop, 0, "WKS.00170208", tasks.ClassPermanent, "the user group does not exist"},
	{OfDesktop, 0, "WKS.00170312", tasks.ClassPermanent, "the user does not exist"},
	{OfDesktop, 0, "WKS.00010110", tasks.ClassPermanent, "the desktop has no valid IP address"},
	{OfDesktop, 0, "WKS.0001", tasks.ClassPermanent, "the request is empty or names what does not exist"},
	{OfDesktop, 0, "WKS.00211102", tasks.ClassPermanent, "the parameter is invalid"},
	{OfDesktop, 0, "WKS.00139901", tasks.ClassPermanent, "the request is invalid"},
	{OfDesktop, 0, "WKS.00149901", tasks.ClassPermanent, "the request is invalid"},
	{OfDesktop, 0, "WKS.00169901", tasks.ClassPermanent, "the request is invalid"},
	{OfDesktop, 0, "WKS.00000405", tasks.ClassPermanent, "the method is not allowed for the desktop"},
	{OfDesktop, 0, "WKS.00081102", tasks.ClassPermanent, "no permission for the desktop"},
	{OfDesktop, 0, "WKS.00211902", tasks.ClassPermanent, "does not exist"},
	{OfDesktop, 0, "WKS.00010099", tasks.ClassPermanent, "the Workspace service is disabled"},
	{OfDesktop, 0, "WKS.00000003", tasks.ClassPermanent, "the service could not read its database"},
	{OfDesktop, 0, "", tasks.ClassTransient, "not known: tried again"},
}

// ownRules explains the codes that workers give themselves. Those of guards that
// read a desktop are in Verdicts.
var ownRules = []Rule{
	{OfWorker, 0, "UNCONFIRMED", tasks.ClassAmbiguous, "the cloud took it and did not show it detached in time"},
	{OfWorker, 0, "DEADLINE", tasks.ClassTransient, "the deadline of the operation passed before it could be sent"},
	{OfWorker, 0, "NO_REPLY", tasks.ClassTransient, "no answer came, and it is certain that nothing was done"},
	{OfWorker, 0, "UNKNOWN", tasks.ClassTransient, "the cloud named no code"},
	{OfWorker, 0, "NOT_SENT", tasks.ClassTransient, "the call did not leave"},
	{OfWorker, 0, "NOT_API", tasks.ClassNotAPI, "what answered is not the API"},
	{OfWorker, 0, "BAD_REQUEST", tasks.ClassLocal, "the request is not one that can be sent"},
	{OfWorker, 0, "USER_NAME", tasks.ClassHeld, "no user has exactly this name, but one has it in another form"},
	{OfWorker, 0, "USER_UNKNOWN", tasks.ClassHeld, "Workspace does not know the user, or does not say"},
	{OfWorker, 0, "USER_DESKTOPS", tasks.ClassHeld, "Workspace counts desktops of the user, and lists none"},
	{OfWorker, 0, "COMPUTER_NAME", tasks.ClassHeld, "no computer, or several, has exactly this name"},
	{OfWorker, 0, "NAMED_FOR_OTHERS", tasks.ClassHeld, "the operation names this desktop of the leaver for somebody else"},
}

// match finds the first row; the last of either table matches everything.
func match(rules []Rule, status int, code string) Rule {
	for _, r := range rules {
		if r.Status != 0 && r.Status != status && r.Status != status/100 {
			continue
		}
		prefix, isPrefix := strings.CutSuffix(r.Code, "*")
		if r.Code == "" || r.Code == code || isPrefix && strings.HasPrefix(code, prefix) {
			return r
		}
	}
	panic("the last row matches everything")
}

// Rules are the table with what an operator added to it.
type Rules struct{ calls, desktops []Rule }

// NewRules puts what an operator added before what is built in.
func NewRules(extra []Rule) Rules {
	var p Rules
	for _, r := range Table(extra) {
		switch r.Of {
		case OfCall:
			p.calls = append(p.calls, r)
		case OfDesktop:
			p.desktops = append(p.desktops, r)
		}
	}
	return p
}

// Table gives the whole table of what an error code means: the given rules,
// which go before the others, the built-in ones, and workers' own codes.
func Table(extra []Rule) []Rule { return slices.Concat(extra, callRules, desktopRules, ownRules) }

// Call says what an error of a detach call means. Whatever the table says, a
// request that can have had an effect is ambiguous.
func (r Rules) Call(err error) tasks.Class {
	var e *apiclient.Error
	switch {
	case !errors.As(err, &e):
		return tasks.ClassAmbiguous // not from the API client: nothing is known
	case e.Local:
		return tasks.ClassLocal
	case e.NotAPI:
		return tasks.ClassNotAPI // even if it can have had an effect: then the desktops stay "sending"
	}
	if e.Effect == apiclient.EffectPossible {
		return tasks.ClassAmbiguous
	}
	if e.AuthFault {
		return tasks.ClassAuth
	}
	return match(r.calls, e.Status, e.Code).Class
}

// Desktop says what an entry of failed_operation_list, in a reply of that
// status, means.
func (r Rules) Desktop(status int, code string) tasks.Class {
	return match(r.desktops, status, code).Class
}

// culpritPattern finds the desktops that a message names, as in "Operation
// conflict. The desktop current instance status is [x] and deny operation [y],
// resource id [z]."
var culpritPattern = regexp.MustCompile(`(?i)resource ids? \[([^\]]+)\]`)

// Culprits gives the desktop ids that an error's text names.
func Culprits(e apiclient.Error) []string {
	var out []string
	if e.About != "" {
		out = append(out, e.About)
	}
	for _, text := range []string{e.Message, e.Detail} {
		for _, m := range culpritPattern.FindAllStringSubmatch(text, -1) {
			for id := range strings.SplitSeq(m[1], ",") {
				out = append(out, strings.TrimSpace(id))
			}
		}
	}
	return out
}
