package fakecloud

import "net/http"

// Codes of desktops refused in failed_operation_list. They are invented, as the
// real ones are not public: no client can rely on them.
const (
	CodeHibernated  = "WKS.00990001"
	CodeFrozen      = "WKS.00990002"
	CodeMaintenance = "WKS.00990003"
	CodeNotFound    = "WKS.00990004"
)

// usual maps documented codes to a status and message they come with.
var usual = map[string]struct {
	status  int
	message string
}{
	"WKS.0001":     {http.StatusBadRequest, "The request message input by the interface is empty."},
	"WKS.0005":     {http.StatusInternalServerError, "Failed to invoke ECS interface."},
	"WKS.0407":     {http.StatusBadRequest, "This operation cannot be performed because disks are being added."},
	"WKS.00000405": {http.StatusMethodNotAllowed, "The method specified in the request is not allowed for this resource."},
	"WKS.00010032": {http.StatusConflict, "Operation conflict."},
	"WKS.00010099": {http.StatusForbidden, "The Workspace service is disabled."},
	"WKS.00050902": {http.StatusServiceUnavailable, "The service is now unavailable to process the request."},
	"WKS.00081102": {http.StatusForbidden, "User does not have permission to access this resource."},
	"WKS.00211102": {http.StatusBadRequest, "The parameter is invalid."},
	"WKS.00211302": {http.StatusUnauthorized, "User authorization error."},
	"WKS.00211401": {http.StatusInternalServerError, "The requested operation failed. Please try again later."},
	"WKS.00211902": {http.StatusNotFound, "The resource does not exist."},
	"APIGW.0101":   {http.StatusNotFound, "The API does not exist or has not been published in the environment."},
	"APIGW.0201":   {http.StatusBadGateway, "Backend unavailable."},
	"APIGW.0301":   {http.StatusUnauthorized, "Incorrect IAM authentication information: Unauthorized"},
	"APIGW.0302":   {http.StatusForbidden, "The IAM user is not authorized to access the API."},
	"APIGW.0307":   {http.StatusUnauthorized, "The token must be updated."},
	"APIGW.0308":   {http.StatusTooManyRequests, "The throttling threshold has been reached: policy user over ratelimit,limit:10,time:1 second"},
	"APIGW.0310":   {http.StatusForbidden, "The project is unavailable."},
	"APIGW.0601":   {http.StatusInternalServerError, "Internal server error."},
}

// usualCode is the code that an error of a status usually has.
func usualCode(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "APIGW.0301"
	case http.StatusForbidden:
		return "WKS.00081102"
	case http.StatusNotFound:
		return "WKS.00211902"
	case http.StatusConflict:
		return "WKS.00010032"
	case http.StatusTooManyRequests:
		return "APIGW.0308"
	case http.StatusInternalServerError:
		return "WKS.00211401"
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return "APIGW.0201"
	case http.StatusServiceUnavailable:
		return "WKS.00050902"
	}
	return "WKS.00211102"
}

// usualMessage is the message of a code, or else of the status.
func usualMessage(status int, code string) string {
	if status == http.StatusGatewayTimeout && code == "APIGW.0201" {
		return "Backend timeout." // one code, several meanings
	}
	if u, known := usual[code]; known {
		return u.message
	}
	return http.StatusText(status)
}
