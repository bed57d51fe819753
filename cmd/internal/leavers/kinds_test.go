package leavers

import (
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

const (
	idA = "5c1a0001-0000-4000-8000-00000000000a"
	idB = "5c1a0002-0000-4000-8000-00000000000b"
)

// Lists as people have them, by kind.
func TestKindsOfLists(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text    string
		want    []Leaver
		ignored []string
	}{
		"names where ids belong": {"desktop,user\nLAP-ANN,ann\n", []Leaver{{Line: 2, Desktop: "LAP-ANN", User: "ann"}}, nil}, // held when it is read
		"an identity system's export": {"displayName,userPrincipalName,accountEnabled,id\nAnn Lee,ann@corp.example,True,{" + strings.ToUpper(idA) + "}\n",
			[]Leaver{{Line: 2, Desktop: idA, User: "ann@corp.example"}}, []string{"displayName", "accountEnabled"}},
		"the guard's other spelling": {"desktop_id,User-Name\n" + idA + ",ann\n", []Leaver{{Line: 2, Desktop: idA, User: "ann"}}, nil},
		"names of sign-in":           {"E-Mail\nann@corp.example\n", []Leaver{{Line: 2, User: "ann@corp.example"}}, nil},
		"machines and users":         {"Hostname;Besitzer;Personalnummer\nLAP-ANN;ann;17\n", []Leaver{{Line: 2, Computer: "LAP-ANN", User: "ann"}}, []string{"Personalnummer"}},
		"cells of a spreadsheet":     {"Desktop ID\tEmployee\tDepartment\r\n" + idA + "\tann\tSales\r\n", []Leaver{{Line: 2, Desktop: idA, User: "ann"}}, []string{"Department"}},
		"pipes":                      {"vm|user\nvm-1|ann\n", []Leaver{{Line: 2, Computer: "vm-1", User: "ann"}}, nil},
		"a line sep=":                {"sep=|\r\ndesktop_id|user\r\n" + idA + "|a, b\r\n", []Leaver{{Line: 3, Desktop: idA, User: "a, b"}}, nil},
		"a directory's two names":    {"SamAccountName,UserPrincipalName,DisplayName\nmia,mia@corp.example,Mia Leaver\nzoe,Zoe@corp.example,\n", []Leaver{{Line: 2, User: "mia"}, {Line: 3, User: "zoe"}}, []string{"DisplayName"}},
		"Get-ADUser as it is": {`"DistinguishedName","Enabled","GivenName","Name","ObjectClass","ObjectGUID","SamAccountName","SID","Surname","UserPrincipalName"` +
			"\r\n" + `"CN=Ann Lee,OU=Leavers,DC=corp","True","Ann","Ann Lee","user","1f","ann","S-1","Lee","ann@corp.example"` + "\r\n",
			[]Leaver{{Line: 2, User: "ann"}}, strings.Split("DistinguishedName,Enabled,GivenName,Name,ObjectClass,ObjectGUID,SID,Surname", ",")},
		"a line #TYPE":         {"#TYPE Deserialized.ADUser\r\n\"SamAccountName\",\"SID\"\r\n\"ann\",\"S-1-5\"\r\n", []Leaver{{Line: 3, User: "ann"}}, []string{"SID"}},
		"spaces in the header": {" Desktop Id , User  Name \n" + idA + ",ann\n", []Leaver{{Line: 2, Desktop: idA, User: "ann"}}, nil},
		"old Macs' line ends":  {"desktop_id,user\r" + idA + ",ann\r" + idB + ",bob\r", []Leaver{{Line: 2, Desktop: idA, User: "ann"}, {Line: 3, Desktop: idB, User: "bob"}}, nil},
		"says the same twice":  {"desktop_id,user\n" + idA + ",ann\n{" + strings.ToUpper(idA) + "},ann\n", []Leaver{{Line: 2, Desktop: idA, User: "ann"}}, nil},
		"an id and a computer": {"desktop_id,desktop_name,user\n" + idA + ",LAP,ann\n", []Leaver{{Line: 2, Desktop: idA, User: "ann"}}, []string{"desktop_name"}},
		"a quote within":       {"desktop_id,user,note\n" + idA + ",ann,\"14\"\" screen\nand a dock\"\n", []Leaver{{Line: 2, Desktop: idA, User: "ann"}}, []string{"note"}},
		"names in two forms":   {"user\nzoe\u0308\nzo\u00eb\n", []Leaver{{Line: 2, User: "zo\u00eb"}}, nil},
		"our own guard":        {"user,project\n'=ann,\n", []Leaver{{Line: 2, User: "=ann"}}, nil},
		"rows' ids":            {"desktop_id,user\ncomputer:LAP,ann\nuser:bob,\n", []Leaver{{Line: 2, Computer: "LAP", User: "ann"}, {Line: 3, User: "bob"}}, nil},
		"Chinese":              {"计算机名,用户名,部门\n云-1,张三,销售\n", []Leaver{{Line: 2, Computer: "云-1", User: "张三"}}, []string{"部门"}},
		"French":               {"Nom de l'ordinateur;Nom d’utilisateur;Matricule\nPC-1;ann;7\n", []Leaver{{Line: 2, Computer: "PC-1", User: "ann"}}, []string{"Matricule"}},
		"Spanish":              {"Equipo;USUARIO;Número de empleado\nPC-1;ann;7\n", []Leaver{{Line: 2, Computer: "PC-1", User: "ann"}}, []string{"Número de empleado"}},
	} {
		for i := range c.want {
			c.want[i].Project = "hq"
		}
		for encoding, encode := range encodings {
			l, err := readList("hq", encode(c.text))
			require.NoError(t, err, "%s, %s", name, encoding)
			require.Empty(t, l.Bad, "%s, %s", name, encoding)
			require.Equal(t, c.want, l.Good, "%s, %s", name, encoding)
			require.Equal(t, c.ignored, l.Unknown, "%s, %s", name, encoding)
		}
	}
}

func utf16Bytes(text string, little, mark bool) string {
	var out []byte
	if mark {
		text = "\ufeff" + text
	}
	for _, u := range utf16.Encode([]rune(text)) {
		if little {
			out = append(out, byte(u), byte(u>>8))
		} else {
			out = append(out, byte(u>>8), byte(u))
		}
	}
	return string(out)
}

var encodings = map[string]func(string) string{
	"UTF-8":                  func(s string) string { return s },
	"UTF-8 with a mark":      func(s string) string { return "\ufeff" + s },
	"UTF-16LE with a mark":   func(s string) string { return utf16Bytes(s, true, true) },
	"UTF-16BE with a mark":   func(s string) string { return utf16Bytes(s, false, true) },
	"UTF-16LE without a one": func(s string) string { return utf16Bytes(s, true, false) },
	"UTF-16BE without a one": func(s string) string { return utf16Bytes(s, false, false) },
}

// What cannot be read says what it is, and where.
func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		"it is a workbook (.xlsx)":                              "PK\x03\x04\x14\x00",
		"it is a workbook (.xls)":                               "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00",
		"neither UTF-8 nor UTF-16 (see line 3)":                 "desktop_id,user\n" + idA + ",ann\n" + idB + ",zo\xeb\n",
		"begins as UTF-16":                                      "\xff\xfea",
		"zero byte on line 2":                                   "desktop_id\nd\x001\n\x00",
		"the quote that opens on line 3 is never closed":        "desktop_id,user,note\nd1,ann,x\nd2,ann,\"14 inch\nd3,ann,x\nd4,ann,x\n",
		"a quote that opens on line 2 includes text that looks": "desktop_id,user,note\nd1,ann,\"14 inch\nd2,ann,x\nd3,ann,15\"\nd4,ann,x\n",
		"a quote that opens on line 4 includes text that looks": "desktop_id,user,note\n\nd0,ann,\nd1,ann,\"14 inch\nd2,ann,\"15 inch\nd4,ann,x\n",
		"a quote that opens on line 1 includes text that looks": "desktop_id,\"user\nd1,ann\nd2,ann\"\n",
		"one column was named twice":                            "desktop_id,user\nd1,ann\n",
	} {
		l := New("hq", known)
		if want == "one column was named twice" {
			l.Columns = Columns{User: "user", Computer: "User"}
		}
		require.ErrorContains(t, l.Read(strings.NewReader(text)), want)
		require.Empty(t, l.Good)
	}
}

// A line of 8 MiB does not keep a processor busy for seconds, and its error is read by people.
func TestMoreColumnsThanASpreadsheetHas(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		"line 1": strings.Repeat(",", 16_385), "line 1 ": strings.Repeat("a;", 16_385), "line 3": "user\nzoe\n" + strings.Repeat("ann,", 16_385),
	} {
		l := New("hq", known)
		require.ErrorContains(t, l.Read(strings.NewReader(text)), strings.TrimSpace(want)+" has more than 16384 columns")
		require.Empty(t, l.Good)
	}
	err := New("hq", known).Read(strings.NewReader(strings.Repeat("user,", 16_383) + "user\n"))
	require.ErrorContains(t, err, `several columns name the user: "user", "user"`)
	require.ErrorContains(t, err, "and 16374 more")
	require.Less(t, len(err.Error()), 300)
}

// A column that may be the guard is read, or the list is refused.
func TestColumnsThatMayBeTheGuard(t *testing.T) {
	t.Parallel()
	for _, header := range []string{
		"desktop_id,Login,Owner", "desktop_id,sAMAccountName,e-mail", "Computer,E-Mail,Mitarbeiter", // several
		"desktop_id,displayName", "desktop_id,姓名", "Computer,Vorname", "desktop_id,name", // people, by what no cloud knows
		"desktop_id,Benutzerkürzel", "desktop_id,user,Previous owner", "Computer,Zweitbenutzer", "desktop_id,user2,user3", // words for people
		"desktop_id,Kolvarin", "Computer,felt", "desktop_id,?", "desktop_id,,project", // anybody's guess
	} {
		n := strings.Count(header, ",") + 1
		_, err := readList("hq", header+"\n"+strings.TrimSuffix(strings.Repeat("x,", n), ",")+"\n")
		var unclear *ColumnError
		require.ErrorAs(t, err, &unclear, header)
		require.Equal(t, "user", unclear.What, header)
	}
	l := New("hq", known)
	l.Columns.User = "owner"
	require.NoError(t, l.Read(strings.NewReader("desktop_id,Login,Owner\nd1,ann,bob\n")))
	require.Equal(t, "bob", l.Good[0].User)
	require.Equal(t, []string{"Login"}, l.Unknown)

	l = New("hq", known)
	l.Columns.User = None
	require.NoError(t, l.Read(strings.NewReader("desktop_id,Kolvarin\nd1,ann\n")))
	require.Empty(t, l.Good[0].User)

	l, err := readList("hq", "desktop_id,Kolvarin,\nd1,,\n")
	require.NoError(t, err, "an empty column guards nothing")
	require.Equal(t, []string{"Kolvarin"}, l.Unknown)

	for _, header := range []string{"Computer,VM,user", "Host,Computer colour,user", "user,Serial number"} {
		_, err := readList("hq", header+"\n"+strings.TrimSuffix(strings.Repeat("x,", strings.Count(header, ",")+1), ",")+"\n")
		var unclear *ColumnError
		require.ErrorAs(t, err, &unclear, header)
		require.Equal(t, "computer", unclear.What, header)
	}
	l = New("hq", known)
	l.Columns.Computer = "desktop"
	require.NoError(t, l.Read(strings.NewReader("id,desktop,user\n7,LAP,ann\n")))
	require.Equal(t, []Leaver{{Line: 2, Project: "hq", Computer: "LAP", User: "ann"}}, l.Good)
	require.Equal(t, []string{"id"}, l.Unknown)
	require.ErrorContains(t, New("hq", known).Read(strings.NewReader("desktop_id,id\nd1,d2\n")), "several columns name the desktop")
	l = New("hq", known)
	l.Columns.User = "nobody"
	require.ErrorContains(t, l.Read(strings.NewReader("desktop_id,user\nd1,d2\n")), `there is no column "nobody"`)
}

func TestMeaningsOfNames(t *testing.T) {
	t.Parallel()
	for m, list := range map[meaning]string{
		isUser: `user|User|USERNAME|user name|user_name|User-Name|user.name|login|Logon|account|sAMAccountName|SAM Account Name|userPrincipalName|UPN|e-mail|Email|EMail Address|mail|employee|owner|Assigned To|assigned user|Leaver|
			Benutzer|Benutzername|Mitarbeiter|Anmeldename|Konto|Besitzer|E-Mail-Adresse|utilisateur|Nom d'utilisateur|identifiant|Employé|EMPLOYE|propriétaire|compte|courriel|usuario|Nombre de usuario|empleado|cuenta|propietario|correo|
			用户|用户名|使用者|员工|账号|帐号|登录名|Ｕｓｅｒ`,
		isComputer: `computer|Computer Name|host|Hostname|host_name|workstation|machine|VM|vm name|PC|asset|device|desktop name|DesktopName|计算机名|主机名|Rechner|Ordinateur|equipo`,
		isDesktop:  `desktop_id|Desktop ID|DesktopId|desktop-id|id|ID|desktop|桌面ID`,
		isProject:  `project|Project`,
		harmless: `Employee ID|employee_id|EmployeeNumber|Employee Number|Department|Mail nickname|SID|Object ID|objectId|note|reason|left_on|accountEnabled|User Type|user status|Account Expires|LastLogonDate|Tipo de usuario|Statut du compte|
			Eintrittsdatum|离职日期|员工编号|用户类型|#|Manager|requested_by|code|class|Cost Center`,
		namesPeople:              `displayName|Display Name|full name|Vorname|姓名|prénom|Apellidos`,
		namesPeople | ofMachine:  `name|Name|nom|名称`,
		ofMachine:                `Serial number|uuid|Computer status|Desktop type|IP Address|Device ID`,
		mayBeUser:                `User (optional)|Benutzerkürzel|Employee short name|previous owner|felhasználó|SignInUser2`,
		mayBeMachine:             `VMHost|cloud desktop|Desktops 2|My computer`,
		mayBeUser | mayBeMachine: `User of the computer|Desktop owner 2`,
		unknown:                  `Kolvarin|?|x`,
	} {
		for name := range strings.SplitSeq(list, "|") {
			name = strings.TrimSpace(name)
			require.Equal(t, m, meaningOf(name), "%q", name)
		}
	}
}

// A directory's two names of a user have to agree: else nobody knows who is meant.
func TestDirectoryNamesThatDisagree(t *testing.T) {
	t.Parallel()
	l := New("hq", func(string) bool { return true })
	require.NoError(t, l.Read(strings.NewReader("desktop_id,SamAccountName,UserPrincipalName\nd1,mia,mia@corp\nd2,mia,zoe@corp\nd3,mia,\n")))
	require.Len(t, l.Good, 2)
	require.Equal(t, 1, l.BadRows)
	require.Equal(t, 3, l.Bad[0].Line)
	require.Contains(t, l.Bad[0].Problem, "two users")
}
