package leavers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// refusedLines reads a list whose users are ann, bob and so on, and gives what is said of the rows
// that are refused.
func refusedLines(t *testing.T, text string) map[int]string {
	t.Helper()
	l := New("hq", known)
	l.Now = noon
	require.NoError(t, l.Read(strings.NewReader(text)), text)
	out := map[int]string{}
	for _, b := range l.Bad {
		out[b.Line] = b.Problem
	}
	for _, x := range l.Good {
		require.NotContains(t, out, x.Line, text)
	}
	return out
}

// Nobody who stays loses a desktop: what a column says of that is not passed over.
func TestRowsOfPeopleWhoStay(t *testing.T) {
	t.Parallel()
	for text, refused := range map[string][]int{
		"user,status\nann,Terminated\nbob,Active\ncyd,Terminated\n":                                               {3},
		"user,status\nann,Terminated\nbob,Pending\ncyd,\n":                                                        {3, 4},
		"email,Worker Status,Termination Date\nann,Terminated,2026-11-01\nbob,Termination Rescinded,2026-11-01\n": {3},
		"user,note\nann,\nbob,CANCELLED - she is with us\ncyd,x\n":                                                {3},
		"user,,x\nann,left,1\nbob,resignation withdrawn,1\n":                                                      {3},
		"Benutzer;Status;Austrittsdatum\nann;offen;31.10.2026\nbob;storniert;31.10.2026\n":                        {3},
		"Utilisateur;Statut\nann;Départ confirmé\nbob;Départ annule\u0301\n":                                      {3},
		"用户名,员工状态\nann,离职\nbob,在职\n":                                                                              {3},
		"用户名,备注\nann,离职\nbob,离职申请已撤回\n":                                                                           {3},
		"ユーザー名,在籍区分\nann,退職\nbob,在籍\n":                                                                            {3},
		"user,Type\nann,Leaver\nbob,Joiner\ncyd,Mover\n":                                                          {3, 4},
		"user,Event\nann,Hire\nbob,New hire\n":                                                                    {2, 3},
		"user,Remove\nann,yes\nbob,no\n":                                                                          {3},
		"user,Terminated\nann,Y\nbob,N\n":                                                                         {3},
		"user,Offboarding\nann,no\nbob,no\n":                                                                      {2, 3},
		"user,Offboard\nann,☑\nbob,☐\n":                                                                           {3},
		"user,team,leaves\nann,a,x\nbob,a,\n":                                                                     {3},
		"Email,Hire Date,Termination Date\nann,2019-01-01,2026-11-01\nbob,2020-01-01,\n":                          {3},
		"E-Mail;Eintrittsdatum;Austrittsdatum\nann;01.01.2019;31.10.2026\nbob;01.02.2019;00.00.0000":              {3},
		"user,left on\nann,2026-10-31\nbob,31.12.9999\ncyd,n/a\n":                                                 {3, 4},
		"user,last day,resignation\nann,2026-10-31,\nbob,,2026-10-01\ncyd,,\n":                                    {4},
		"Work Email,Status,Hire Date\nann,Inactive,2019\nbob,Active,2019\n":                                       {3},
		"computer,user,action\nPC-1,ann,remove\nPC-2,bob,keep\n":                                                  {3},
		"desktop_id,user,remarks\nd1,ann,ok\nd2,bob,do NOT detach\nd3,cyd,please don’t remove\n":                  {3, 4},
		"desktop_id,user,Bemerkung\nd1,ann,Laptop zurück\nd2,bob,nicht sperren!\n":                                {3},
		"Użytkownik;Status\nann;Zwolniony\nbob;Aktywny\n":                                                         {3},
		"Kullanıcı adı;Durum\nann;Ayrıldı\nbob;Aktif\n":                                                           {3},
		"Usuario;Estado\nann;Baja\nbob;Activo\n":                                                                  {3},

		"user,note\nann,contract not renewed\nbob,contract renewed\ncyd,will not be extended\ndan,not cancelled\neve,\"no, cancelled\"\n": {3, 6},
		"用户名,备注\nann,未续签\nbob,已续签\n":                                                            {3},
		"user,reason\nann,maternity leave\nbob,do not disable\n":                                {3},
		"user,Employee status,Leaving date\nann,Active,2026-11-01\nbob,Active,\n":               {3},
		"user,Approved by\nann,boss\nbob,\n":                                                    {3},
		"user,Cancelled on\nann,\nbob,2026-11-02\n":                                             {3},
		"user,Extended until\nann,2026-10-31\nbob,spring\n":                                     {3},
		"user,Rehire date,Leaving date\nann,2020-01-01,2026-11-01\nbob,2026-11-10,2026-11-01\n": {3},
		"user,Review decision\nann,Denied\nbob,Approved\n":                                      {3},

		// Nothing here says that somebody stays.
		"user,Authorized devices,Approval comment\nann,2,fine\nbob,,\n": nil,
		"user,Meetings cancelled,Warranty extended\nann,yes,yes\n":      nil,
		"user,Approval required\nann,no\n":                              nil,

		"user,Delete files,Revoke VPN?,Remove from Teams\nann,yes,no,yes\nbob,no,,yes\n":              nil,
		"user,status\nann,Active\nbob,Active\n":                                                       nil,
		"user,status\nann,Terminated\nbob,Inactive\ncyd,resigned\n":                                   nil,
		"Desktop ID,User Name,Status,Login Status\nd1,ann,Running,Registered\nd2,bob,Stopped,Unknown": nil,
		"SamAccountName,Enabled\nann,True\nbob,False\n":                                               nil,
		"user,reason\nann,Resigned\nbob,parental leave\ncyd,\n":                                       nil,
		"user,leaves\nann,\nbob,\n":                                                                   nil,
		"user,last day,exit interview\nann,2026-10-31,no\nbob,2026-10-31,\n":                          nil,
		"user,note\nann,did not return the keys of office 5 and left\nbob,no reply\n":                 nil,
		"user,Last name,Department\nann,Hire,Onboarding team\nbob,Keep,Cancellations\n":               nil,
		"desktop_id,user,message\nd1,ann,the call was cancelled: it did not detach\n":                 nil,
	} {
		got := refusedLines(t, text)
		require.Len(t, got, len(refused), "%s: %v", text, got)
		for _, line := range refused {
			require.Contains(t, got[line], "remove the row if the person stays, else", text)
			require.Regexp(t, `^column "?\S.* (says "|has nothing)`, got[line], text)
		}
	}

	// In a list of those who stay nobody is passed over.
	for text, want := range map[string]string{
		"Login,Email\nalee,ann.lee@x\n": "several columns name the user", "Login of leaver,dept\nann,IT\n": "choose one", "user,dept\nann,IT\n(1 row of 1)\n": "",
	} {
		l := New("hq", known)
		l.AnyStatus, l.Now = true, noon
		if err := l.Read(strings.NewReader(text)); want != "" {
			require.ErrorContains(t, err, want)
		}
		require.Equal(t, want == "", l.BadRows == 1, text)
	}

	// A list of those who stay is not asked who leaves.
	l := New("hq", known)
	l.AnyStatus, l.Now = true, noon
	require.NoError(t, l.Read(strings.NewReader("user,status,contract end\nann,Active,2030-01-01\nbob,Terminated,\n")))
	require.Empty(t, l.Bad)
	require.Len(t, l.Good, 2)
}

// Nobody loses access before the day in the list, unless somebody says so.
func TestRowsOfPeopleWhoLeaveLater(t *testing.T) {
	t.Parallel()
	for column, dates := range map[string][]string{
		"last day": {
			"2026-12-31", "2026-12-31 00:00:00.000", "31.12.2026", "31.12.2026 00:00:00", "12/31/26", "12/31/2026 12:00:00 AM", "12/11/2026", "31-DEC-26",
			"31 December 2026", "31. Dezember 2026", "31 décembre 2026", "31 de diciembre de 2026", "December 31, 2026", "Thursday, December 31, 2026",
			"Do., 31.12.2026", "2026年12月31日", "2026年12月31日 星期四", "令和8年12月31日", "20261231", "46387", "46387,75", "２０２６／１２／３１", "2026-11-27 18:00", "11/27/2026 6:00 PM",
			"on 31.12.2026", "31 gru 2026", "2026-12-31Z", "2026-12-31+01:00", "12/2026", "2026-12", "Dec 2026", "November 2026", "2026年12月",
		},
		"note": {"2026-12-31", "31/12/2026", "31 Dec 2026"},
	} {
		for _, date := range dates {
			text := fmt.Sprintf("user,%s\nann,\"%s\"\nbob,2026-10-31\n", column, date)
			require.Equal(t, map[int]string{2: fmt.Sprintf("column %q has a date to come, %q, and nothing would wait for it: "+
				"give the start, which may be now, or the last working day", column, date)}, refusedLines(t, text), text)
		}
	}
	for column, dates := range map[string][]string{
		"last day":        {"2026-11-27", "27.11.2026", "2026-11-27 09:00", "11/26/26", "5/6/2026", "10/2026", "Oktober 2026", "20261031", "46300"},
		"note":            {"10.12.27.3", "10.12.27", "12-12-27", "20271231", "50000", "2027-12-31-0001"},
		"password expiry": {"2027-01-01"}, "Return of keys due": {"2027-01-01"}, "Next review": {"2027-01-01"},
	} {
		for _, date := range dates {
			require.Empty(t, refusedLines(t, fmt.Sprintf("user,%s\nann,\"%s\"\n", column, date)), "%s %s", column, date)
		}
	}
	for _, text := range []string{"later", "TBD", "99.99.2027", "Q1 2027", "31/12", "end of December 2026"} {
		got := refusedLines(t, "user,last day\nann,"+text+"\nbob,2026-10-31\n")
		require.Len(t, got, 1, text)
		require.Contains(t, got[2], fmt.Sprintf("says %q, and it is not clear whether that day is to come: write it as 2026-12-31, or give the start", text))
	}
	require.Empty(t, refusedLines(t, "user,last day\nann,13/11/2026\nbob,12/11/2026\n"), "the other row tells that the day is first")
	require.Len(t, refusedLines(t, "user,last day\nann,11/13/2026\nbob,12/11/2026\n"), 1)

	for title, toCome := range map[string]bool{
		"Leavers of December 2026": true, "Austritte zum 31.12.2026": true, "Leavers (12/31/2026)": true, "离职人员 2026年12月31日": true,
		"Leaving on 31 December 2026": true, "Leavers of November 2026": false, "Made on 2026-11-27 by HR 2030": false, "Version 3.1 of 2 pages": false,
	} {
		for _, text := range []string{title + "\nuser,dept\nann,IT\n", "user,\"" + strings.NewReplacer("Leavers", "Left", "离职人员", "").Replace(title) + "\"\nann,x\n"} {
			l := New("hq", known)
			l.Now = noon
			err := l.Read(strings.NewReader(text))
			if toCome {
				require.ErrorContains(t, err, "or a title above it, has a date to come", text)
				continue
			}
			require.NoError(t, err, text)
			require.Len(t, l.Good, 1)
		}
	}

	l := New("hq", known)
	l.AnyDate, l.Now = true, noon
	require.NoError(t, l.Read(strings.NewReader("user,last day\nann,31-DEC-26\n")))
	require.Empty(t, l.Bad)
	require.Contains(t, strings.Join(l.Notes(), " "), `has dates to come in 1 of the rows, the first in line 2: "31-DEC-26"`)
}

// Who works on a ticket is not who leaves.
func TestPeopleOfTickets(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"Issue key,Summary,Assignee,Status\nIT-1,Offboard Ann,bob,Open\n", "Number,Caller,Assigned to\nRITM1,ann,bob\n",
		"Ticket,Agent\n1,bob\n", "Owner,Task\nbob,accounts of leavers\n", "负责,所有者\nann,bob\n",
	} {
		_, err := readList("hq", text)
		var unclear *ColumnError
		require.ErrorAs(t, err, &unclear, text)
		require.Equal(t, "user", unclear.What)
		require.NotEmpty(t, unclear.Columns)
	}
	for _, text := range []string{"Owner\nann\n", "Owner,,\nann,,\n", "computer,Owner,Task\nPC-1,ann,x\n", "Desktop ID,Assigned to,Ticket\nd1,ann,7\n"} {
		l, err := readList("hq", text)
		require.NoError(t, err, text)
		require.Equal(t, "ann", l.Good[0].User)
	}
	l := New("hq", known)
	l.Columns.User = "Owner"
	require.NoError(t, l.Read(strings.NewReader("Owner,Task\nann,x\n")))

	_, err := readList("hq", "First Name [Required],Email Address [Required],Recovery Email\nAnn,ann,x\n")
	var unclear *ColumnError
	require.ErrorAs(t, err, &unclear)
	require.Equal(t, []string{"Email Address [Required]", "Recovery Email"}, unclear.Columns)
}

// A report has titles above its header, lines that are drawn, and its header on each page.
func TestReports(t *testing.T) {
	t.Parallel()
	for below, note := range map[string]string{
		"Total,2":                                 `1, the first "Total 2"`,
		"Summe: 2,\n\nMade by HR on 2026-11-27,":  `2, the first "Summe: 2"`,
		"(2 rows affected)":                       `1, the first "(2 rows affected)"`,
		"\nGenerated 2026-11-27 by Eve of HR\n\n": `1, the first "Generated 2026-11-27 by Eve of HR"`,
	} {
		l, err := readList("hq", "user,dept\nann,IT\nbob,HR\n"+below+"\n")
		require.NoError(t, err, below)
		require.Empty(t, l.Bad, below)
		require.Len(t, l.Good, 2, below)
		require.Len(t, l.Notes(), 1, below)
		require.Contains(t, l.Notes()[0], "lines below the table, which are ignored: "+note)
	}
	for text, want := range map[string]string{
		"user,dept\nann,IT\nPlease remove them on 31.12.2027 at noon\n": "a line below the table has a date to come",
		"user,dept\nann,IT\nbob: his contract of 2024 was extended\n":   `a line above or below the table says "bob: his`,
		"Joiners of May\nuser,dept\nann,IT\n":                           `a line above or below the table says "Joiners of May"`,
		"Resignations that were withdrawn in May\nuser,dept\nann,IT\n":  "a line above or below the table says",
		"user,dept\nann,IT\nInternal transfers,\nbob,HR\n":              `line 3 looks like the title of another part of the list, "Internal transfers"`,
		"user\nann\nMaternity leave:\nbob\n":                            `line 3 looks like the title of another part of the list`,
	} {
		_, err := readList("hq", text)
		require.ErrorContains(t, err, want, text)
	}
	for text, rows := range map[string]int{ // nobody is passed over
		"user,dept\nTotal,2\n":                                                 1,
		"user,dept\nann,IT\nTotal Recall,IT\n":                                 2,
		"user,dept\nann,IT\nann lee of HR\n":                                   2,
		"user\nann\nTotal: 1\n":                                                2,
		"user,dept\nann,IT\n" + strings.Repeat("12 rows of many\n", 22) + "\n": 3,
	} {
		l, err := readList("hq", text)
		require.NoError(t, err, text)
		require.Equal(t, rows, len(l.Good)+l.BadRows, text)
	}
	for text, line := range map[string]int{
		"Leavers November 2026;;\n;;\nuser;dept;note\nann;IT;\n":                          4,
		"Report of leavers\nGenerated 2026-11-27 by HR, Berlin\n\nuser,dept,n\nann,IT,\n": 5,
		"# made by hr\nuser,dept\nann,IT\n":                                               3,
		"| user | dept |\n|------|:----:|\n| ann | IT |\n":                                3,
		"+------+----+\n| user | dt |\n+------+----+\n| ann  | IT |\n+------+----+":       4,
		" user | dept \n------+------\n ann | IT\n":                                       3,
		"\nSamAccountName\n--------------\nann\n\n":                                       4,
		"user,dept\nuser,dept\nann,IT\nuser,dept\n":                                       3,
	} {
		l, err := readList("hq", text)
		require.NoError(t, err, text)
		require.Empty(t, l.Bad, text)
		require.Equal(t, []Leaver{{Line: line, Project: "hq", User: "ann"}}, l.Good, text)
	}
	l, err := readList("hq", "Leavers of May\nsecond line\nuser,dept\nann,IT\n")
	require.NoError(t, err)
	require.Equal(t, []string{`lines above the header, which are ignored: 2, the first "Leavers of May".`}, l.Notes())

	for text, want := range map[string]string{
		"user,dept\nann,IT\ncomputer,user\nPC-1,bob\n":     `line 3 looks like another header: put what is above it, or below it, into a list of its own, or remove it`,
		"user,dept\nann,IT\nJoiners,\nbob,IT\n":            `line 3 looks like the title of another part of the list, "Joiners"`,
		"user;dept\nann;IT\n;New hires in May\nbob;IT\n":   `line 3 looks like the title of another part`,
		"ann\nbob\nuser,dept\ncyd,IT\n":                    `line 3 looks like another header`, // names are not titles
		"ann x,IT\nuser,dept\ncyd,IT\n":                    `line 2 looks like another header`,
		"SamAccountName  Department\nann             IT\n": "only separated by spaces",
		`[{"user":"ann"}]`:                                 "it is JSON, not CSV",
		"{\n  \"user\": \"ann\"\n}\n":                      "it is JSON, not CSV",
	} {
		l, err := readList("hq", text)
		require.ErrorContains(t, err, want, text)
		require.Empty(t, l.Good, text)
	}
	l, err = readList("hq", "user,dept\nann,IT\nbob\n")
	require.NoError(t, err)
	require.Contains(t, l.Bad[0].String(), "line 3: wrong number of fields: 1, the header has 2: correct it, or remove it if it is a title or a total")
}
