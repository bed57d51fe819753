package policy

import (
	"strings"

	"github.com/detachd/detachd/tasks"
)

// adviceByCode says what a person can do about a desktop that failed or is on hold with a
// code, where that is more specific than the advice of its class. A code that ends in "*"
// matches by its prefix.
var adviceByCode = map[string]string{
	// Guards, before a call.
	"OTHER_USER":      "Assigned to someone else. Confirm the owner, then dismiss; if the list named the wrong user, submit the right one.",
	"GROUP":           "Check who is in the group. Remove the leaver from it, or the group from the desktop, then retry.",
	"PLAN_CHANGED":    "Make a new plan, see who is on the desktop now, and run that plan; or dismiss.",
	"SHARED":          "Submit it again with the leavers as expected users, or with shared desktops allowed if all users are to lose it.",
	"FROZEN":          "Settle the order or the bill for which the desktop is frozen, then retry.",
	"MAINTENANCE":     "End the maintenance mode of the desktop in the Workspace console, then retry.",
	"HIBERNATED":      "Wake the desktop up in the Workspace console, then retry.",
	"RECALLED":        "Submit the others who are to lose it again, without the person who was recalled, and cancel this.",
	"PROTECTED":       "Dismiss it if the protection is right. Otherwise an admin removes the rule that the message names, then retry.",
	"DESKTOP_ERROR":   "Repair or rebuild the desktop in the Workspace console, then retry; or delete it there if it is not needed.",
	"NOT_FOUND":       "Check the id, project and region, and submit the right ones. Dismiss if the desktop is known to be deleted.",
	"BUSY":            "Wait until the task that runs on the desktop has ended, then retry.",
	"ATTACHFAIL":      "Find out in the Workspace console why the assignment failed, fix that, then retry.",
	"DEATTACHFAIL":    "Detach the user in the Workspace console, fix what the error there says, then retry.",
	"DEATTACH_FAIL_*": "Retry. If it fails again, detach the user in the Workspace console and read the error there.",

	// Guards of an undo.
	"UNDO_NO_DESKTOP":              "Give the user another desktop in the Workspace console, then dismiss.",
	"UNDO_POOLED":                  "Give the user access to the pool in the Workspace console, then dismiss.",
	"UNDO_NO_USERS":                "Find out who had it and assign it by hand (see the runbook), then dismiss.",
	"UNDO_OTHER_USER":              "Confirm who is to have it. If it is its last user, free it in the console, then retry; if not, dismiss.",
	"UNDO_TOO_OLD":                 "Confirm that nobody else has used it since, assign it by hand (see the runbook), then dismiss.",
	"UNDO_USER_GONE":               "Restore the user in Workspace, then retry. A new user of that name is another one: data would be lost.",
	"UNDO_USER_LOCKED":             "Find out why the user cannot sign in, unlock or enable the user in the Workspace console, then retry.",
	"UNDO_NO_RIGHT":                "Grant the IAM user workspace:desktops:attach, then retry.",
	"ATTACH_FAIL_CAN_ATTACH_AGAIN": "Retry. If it fails again, assign the desktop in the Workspace console without clearing its data.",

	// Look-ups.
	"USER_NAME":        "If the name in the message is the same person, submit that name.",
	"USER_UNKNOWN":     "Check the spelling and the project. If the person never had an account, dismiss, or ignore unknown users.",
	"USER_DESKTOPS":    "Find out in the Workspace console through which group the user has desktops, remove the user from it, then retry.",
	"COMPUTER_NAME":    "Find the desktop's id in the Workspace console and submit the id: the name does not match exactly one computer.",
	"NAMED_FOR_OTHERS": "The list assigns this desktop to someone other than the leaver who has it. Confirm the owner, then submit it again.",

	// Workers.
	"UNCONFIRMED": "Check the desktop in the Workspace console. If the user is off it, retry: a reading confirms it. If not, detach it there.",
	"DEADLINE":    "Find out why it waited (a pause, the limits, no worker), then retry: it gets a new deadline.",
	"NO_REPLY":    "Check the connection to the cloud (detachd doctor), then retry.",
	"UNKNOWN":     "Read the message, and ask the cloud's support with the request id if it says too little. Then retry.",
	"NOT_SENT":    "Nothing to do: it continues by itself.",
	"BAD_REQUEST": "Correct the id that the message names, then submit it again.",
	"NOT_API":     "A proxy, a sign-in page or another server answered. Correct the endpoint or the proxy, then resume the project.",
	"NO_RIGHT":    "Grant the IAM user the permission in the message, check it with detachd doctor --probe, then resume the project.",

	// The gateway.
	"APIGW.0308": throttledAdvice,
	"APIGW.0301": "Correct the project's credentials, or the worker's clock if they are right, then resume the project.",
	"APIGW.0303": "Check the access key and the worker's clock, then resume the project.",
	"APIGW.0307": "Renew the token, or use a password or an access key, then resume the project.",
	"APIGW.0101": "Correct the endpoint, the region and the project id, then resume the project.",
	"APIGW.0103": "Correct the endpoint and the region, then resume the project.",
	"APIGW.0104": "Correct the endpoint and the region, then resume the project.",
	"APIGW.0105": "Correct the endpoint and the region, then resume the project.",
	"APIGW.0106": "Correct the endpoint and the region, then resume the project. If they are right, ask the cloud's support.",
	"APIGW.0204": "Find out which proxy on the way uses an old TLS version, then resume the project.",
	"APIGW.0302": "Grant the IAM user permission to call the API, then resume the project.",
	"APIGW.0304": "Allow the account to call the API, then resume the project.",
	"APIGW.0305": "Allow the account to call the API, then resume the project.",
	"APIGW.0306": "Allow the account to call the API, then resume the project.",
	"APIGW.0310": "Find out in the console why the project is unavailable, then resume it here.",
	"APIGW.0401": "Allow the worker's address in the gateway's access control, then resume the project.",
	"APIGW.0402": "Allow the worker's address in the gateway's access control, then resume the project.",
	"APIGW.0404": "Allow the worker's address in the gateway's access control, then resume the project.",
	"APIGW.0501": "Raise the quota of the API, then resume the project.",
	"APIGW.0502": "Find out why the account is frozen and settle it, then resume the project.",
	"APIGW.0802": "Allow the IAM user to work in this region, then resume the project.",
	"APIGW.0613": "Retry when IAM has recovered.",
	"APIGW.*":    "Report it: the gateway could not read the request, and a retry does not change that.",

	// Workspace.
	"WKS.00010032": "Check in the Workspace console what the desktop is doing, and retry when that has ended.",
	"WKS.0407":     "Retry when the disks have been added.",
	"WKS.00010099": "Enable the Workspace service for the project, then resume the project, or retry.",
	"WKS.00170117": "Check the project id and the endpoint, then resume the project: Workspace does not know the tenant.",
	"WKS.00050902": "Retry when the service has recovered.",
	"WKS.0005":     "Retry when the computing service has recovered.",
	"WKS.0009":     "Retry when IAM has recovered.",
	"WKS.00129901": "Retry later.",
	"WKS.00211401": "Retry. If it fails again, check the desktop in the Workspace console.",
	"WKS.00170208": "Check the user group in the Workspace console (it no longer exists), then retry.",
	"WKS.00170312": "Check the user in the Workspace console (it no longer exists), then retry: a reading shows who has the desktop.",
	"WKS.00010110": "Give the desktop an IP address in the Workspace console, then retry.",
	"WKS.0001":     "Read the message, as the code has many meanings, and check the id. If the desktop exists, retry.",
	"WKS.00211102": "Report it with the request id: the cloud does not accept the request as it is.",
	"WKS.00139901": "Report it with the request id: the cloud does not accept the request as it is.",
	"WKS.00149901": "Report it with the request id: the cloud does not accept the request as it is.",
	"WKS.00169901": "Report it with the request id: the cloud does not accept the request as it is.",
	"WKS.00000405": "Check the type of the desktop in the Workspace console: this type cannot be detached this way.",
	"WKS.00081102": "Grant the IAM user access to this desktop, then retry.",
	"WKS.00211902": "Check the id and the project: the cloud does not know this desktop.",
	"WKS.00000003": "Retry later; if it lasts, ask the cloud's support: the service could not read its database.",
}

const (
	throttledAdvice = "Nothing to do: it continues by itself. If it lasts, lower the limits of the project."
	consoleAdvice   = "Fix the problem in the Workspace console, then retry."
)

// Advice says what a person can do about desktops that failed or are on hold with a code:
// the advice of the code, else of its class, else "".
func Advice(code string, class tasks.Class) string {
	if advice, own := codeAdvice(code); own {
		return advice
	}
	for _, c := range Classes() {
		if c.Class == class {
			return c.Advice
		}
	}
	return ""
}

func codeAdvice(code string) (string, bool) {
	if advice, whole := adviceByCode[code]; whole {
		return advice, true
	}
	for pattern, advice := range adviceByCode {
		if prefix, isPrefix := strings.CutSuffix(pattern, "*"); isPrefix && strings.HasPrefix(code, prefix) {
			return advice, true
		}
	}
	return "", false
}
