package leavers

import "strings"

// names are the columns whose meaning is certain, by fold.
var names = table(map[meaning]string{
	isProject: `project, project alias`,

	isDesktop: `desktop, desktop id, desktop ids, id, desktop uuid, desktop guid, desktop identifier, cloud desktop id, workspace desktop id,
		Desktop-Kennung, ID des Desktops, Desktop-Nummer,
		identifiant du bureau, id du bureau, id de bureau, id bureau,
		id de escritorio, id del escritorio, id escritorio, identificador del escritorio,
		桌面ID, 云桌面ID, 桌面编号, 桌面标识, 雲桌面ID`,

	isComputer: `computer, computers, computer name, computer names, computer host name, host, hosts, host name, host names, dns host name, dns name, fqdn, netbios, netbios name,
		workstation, workstations, workstation name, machine, machines, machine name, machine names, vm, vms, vm name, vm names, virtual machine, virtual machine name,
		virtual desktop, virtual desktop name, pc, pcs, pc name, asset, assets, asset name, device, devices, device name, managed device name, desktop name, desktop computer, desktop computer name,
		cloud desktop name, cloud pc, cloud pc name, vdi, vdi name, vdi desktop, session host, session host name, laptop, laptop name, notebook, endpoint, endpoint name, terminal, terminal name, node name, system name, instance name,
		Rechner, Rechnername, Computer-Name, Gerät, Geraet, Gerätename, Geraetename, Arbeitsplatz, Arbeitsplatzrechner, Arbeitsstation, Maschine, Maschinenname, virtuelle Maschine, Endgerät, Endgeraet, Hostname des Rechners,
		ordinateur, nom ordinateur, nom d'ordinateur, nom de l'ordinateur, poste, poste de travail, nom du poste, nom de poste, nom du poste de travail, machine virtuelle, nom de machine, nom de la machine, nom machine, appareil, nom de l'appareil, nom d'hôte, hôte, nom du bureau, bureau virtuel,
		equipo, nombre del equipo, nombre de equipo, nombre equipo, ordenador, nombre del ordenador, computadora, computador, nombre de la computadora, máquina, nombre de máquina, nombre de la máquina, máquina virtual, dispositivo, nombre del dispositivo, nombre de host, estación de trabajo, nombre del escritorio, nombre de escritorio,
		计算机, 计算机名, 计算机名称, 电脑, 电脑名, 电脑名称, 主机, 主机名, 主机名称, 机器, 机器名, 机器名称, 设备, 设备名, 设备名称, 工作站, 工作站名, 工作站名称, 虚拟机, 虚拟机名, 虚拟机名称, 桌面名, 桌面名称, 云桌面, 云桌面名, 云桌面名称, 终端, 终端名称,
		計算機, 計算機名稱, 電腦, 電腦名稱, 主機, 主機名稱, 機器, 機器名稱, 設備, 設備名稱, 虛擬機, 桌面名稱,
		コンピューター, コンピュータ, コンピューター名, コンピュータ名, ホスト名, 端末, 端末名, nome computer, nome del computer, nome do computador, computernaam, apparaatnaam, werkstation`,

	isUser: `user, users, user name, user names, user account, user account name, user id, uid, user login, user logon, user login name, user logon name, login, logins, login name, login id, login user, login account, logon, logon name, logon id, logon user,
		account, accounts, account name, sAMAccountName, sam account, sam, userPrincipalName, upn, upns, principal name, principal, e-mail, e-mails, e-mail address, e-mail addresses, e-mail id, mail, mail address, user e-mail, user e-mail address, user mail, work e-mail, business e-mail, company e-mail, primary e-mail, user upn,
		employee, employees, employee name, employee e-mail, employee e-mail address, employee login, employee user name, employee account, owner, owners, owner name, owner e-mail, owner upn, device owner, computer owner, desktop owner, asset owner, vm owner,
		assigned to, assigned user, assigned users, assigned user name, assigned user upn, assignee, assignee name, leaver, leavers, leaver name, departing employee, departing user, person, staff, staff member, staff name, colleague, team member,
		network id, network user, network login, nt login, nt user, nt account, nt user name, ad account, ad user, ad user name, domain user, domain account, domain login, ldap user, primary user, primary user name, primary user upn, primary user e-mail, primary user e-mail address, current user,
		attached user, desktop user, device user, vm user, computer user, machine user, workstation user, pc user, last user, last logged on user, last logged in user, last logon user, last login user, logged on user, logged in user, associated user, associated users, used by, belongs to, custodian, holder, windows user, windows account, windows login, sign-in name, sign-on name, sign-in,
		Benutzer, Benutzername, Benutzerkonto, Benutzerkennung, Benutzer-ID, Benutzer-Login, Nutzer, Nutzername, Nutzerkennung, Nutzerkonto, Anwender, Anwendername, Anwenderin, Mitarbeiter, Mitarbeiterin, Mitarbeiter/-innen, Mitarbeitername, Mitarbeitende, Mitarbeitender, Name des Mitarbeiters, Name des Benutzers, Anmeldename, Anmelde-ID, Anmeldekonto, Anmeldekennung, Konto, Kontoname, Besitzer, Besitzername, Inhaber, Kontoinhaber, Eigentümer, Eigentuemer, E-Mail-Adresse, Mailadresse, Mail-Adresse, Kennung, Login-Kennung, Login-Name, zugewiesen an, zugewiesener Benutzer, zugewiesener Nutzer, zugeordnet zu, zugeordneter Benutzer, Angestellter, Angestellte, Windows-Benutzer, AD-Benutzer, Domänenbenutzer, Hauptbenutzer,
		utilisateur, utilisateurs, utilisatrice, utilisateur/trice, nom utilisateur, nom d'utilisateur, nom de l'utilisateur, identifiant, identifiants, identifiant utilisateur, identifiant de connexion, identifiant de l'utilisateur, compte, comptes, compte utilisateur, compte d'utilisateur, nom du compte, nom de compte, employé, employée, employés, nom de l'employé, nom employé, salarié, salariée, collaborateur, collaboratrice, propriétaire, nom du propriétaire, titulaire, courriel, courriels, adresse courriel, adresse e-mail, adresse mail, adresse de courriel, adresse électronique, messagerie, adresse de messagerie, attribué à, affecté à, assigné à, usager, personne, agent, nom de connexion, utilisateur affecté, utilisateur principal,
		usuario, usuarios, usuaria, usuario/a, nombre de usuario, nombre usuario, nombre del usuario, id de usuario, identificador de usuario, empleado, empleada, empleado/a, empleados, nombre del empleado, nombre de empleado, nombre empleado, cuenta, cuentas, cuenta de usuario, nombre de cuenta, nombre de la cuenta, propietario, propietaria, nombre del propietario, titular, dueño, correo, correos, correo electrónico, correo corporativo, dirección de correo, dirección de correo electrónico, dirección de e-mail, asignado a, asignado, asignada a, usuario asignado, usuario principal, inicio de sesión, trabajador, trabajadora, colaborador, colaboradora, persona,
		用户, 用户名, 用户名称, 用户账号, 用户帐号, 用户账户, 用户帐户, 用户ID, 使用者, 使用者名称, 使用人, 员工, 员工姓名, 员工账号, 员工帐号, 员工名, 账号, 帐号, 账户, 帐户, 账户名, 帐户名, 账号名, 帐号名, 登录名, 登陆名, 登录账号, 登录帐号, 登录用户, 登录用户名, 登录ID, 域账号, 域帐号, 域用户, 域用户名, 邮箱, 邮箱地址, 电子邮箱, 电子邮件, 电子邮件地址, 邮件, 邮件地址, 所有者, 拥有者, 归属人, 归属用户, 所属用户, 分配用户, 已分配用户, 关联用户, 领用人, 离职人员, 离职员工, 人员,
		用戶, 用戶名, 用戶名稱, 使用者名稱, 員工, 員工姓名, 帳號, 帳戶, 賬號, 賬戶, 登入名, 登入名稱, 登入帳號, 電子郵件, 電子郵箱, 擁有者,
		ユーザー, ユーザ, ユーザー名, ユーザ名, ユーザーID, アカウント, アカウント名, 社員, 利用者, メールアドレス, 사용자, 사용자 이름, 사용자 ID, 계정, 직원, 이메일,
		utente, nome utente, dipendente, proprietario, utilizador, nome de utilizador, usuário, nome de usuário, nome do usuário, funcionário, gebruiker, gebruikersnaam, medewerker, eigenaar, użytkownik, nazwa użytkownika, pracownik, kullanıcı, kullanıcı adı, användare, användarnamn, bruger, brugernavn, bruker, brukernavn, käyttäjä, käyttäjätunnus, uživatel, uživatelské jméno, пользователь, имя пользователя, логин, сотрудник, учетная запись`,

	namesPeople: `display name, full name, first name, last name, given name, surname, family name, middle name, forename, nickname, preferred name, common name, alias, aliases, initials,
		user display name, owner display name, primary user display name, employee full name, user full name,
		Vorname, Nachname, Familienname, voller Name, vollständiger Name, Anzeigename, Vor- und Nachname, Nachname Vorname,
		prénom, nom complet, nom de famille, nom affiché, nom d'affichage, nom et prénom, nom prénom,
		nombre completo, apellido, apellidos, nombre y apellidos, nombre para mostrar, nombres,
		姓名, 名字, 姓, 显示名, 显示名称, 顯示名稱, 中文名, 英文名`,

	namesPeople | ofMachine: `name, names, nom, nombre, nome, Bezeichnung, label, 名称, 名稱, cn, dn, distinguished name, object name, resource, resource name, item, object, client, client name, customer`,

	ofMachine: `uuid, guid, device id, vm id, machine id, computer id, host id, asset id, server id, instance id, resource id, workspace id, node id, desktops, desktop count, number of desktops,
		serial, serial number, serial no, serialnr, Seriennummer, numéro de série, número de serie, 序列号, asset tag, asset number, asset no, inventory, inventory number, inventory no, Inventarnummer, numéro d'inventaire, número de inventario, 资产编号, 资产, 资产名称,
		ip, ip address, ipv4, ipv4 address, IP-Adresse, adresse ip, dirección ip, IP地址, mac, mac address, os, operating system, Betriebssystem, 操作系统, model, manufacturer, make, vendor, node, system, instance, server, server name, cpu, ram, memory, disk, flavor, image, subnet`,

	harmless: `employee id, employee ids, employee number, employee no, employee nr, employee type, emp id, empid, emp no, staff id, staff number, person id, person number, personnel id, personnel number, worker id, hr id, badge, badge id, sid, object sid, user sid, security id, object id, object guid, object class, immutable id, mail nickname, department, dept,
		Personalnummer, Personalnr, Personal-Nr, Mitarbeiternummer, Mitarbeiter-ID, Mitarbeiter-Nr, matricule, numéro d'employé, numéro employé, número de empleado, número empleado, id de empleado, legajo, 工号, 员工编号, 员工号, 员工ID, 人员编号, 員工編號, 社員番号,
		manager, manager name, manager e-mail, line manager, managers, supervisor, supervisor name, approver, approved by, requester, requested by, reported by, submitted by, created by, modified by, updated by, changed by, Vorgesetzter, Vorgesetzte, Führungskraft, responsable hiérarchique, jefe, 主管, 经理, 上级, 直属上级,
		last logon, last login, last logon timestamp, account enabled, enabled, active, when created, when changed, user account control, member of,
		note, notes, comment, comments, remark, remarks, reason, reasons, description, ticket, tickets, incident, priority, status, state, code, class, message, attempts, at, operation id, call id, request id, line, team, teams, tag, tags, source, left on, left, leaving, leaves on, last day, last working day, start, end, no, number, nr, index, row, count,
		cost center, cost centre, company, organisation, organization, org, ou, location, site, office, city, country, region, zone, building, floor, room, phone, mobile, fax, job, job title, title, position, role, group, groups, division, unit, contract, currency, language, locale, timezone, domain, due, due at, due date, deadline, date, time, hire date, termination, termination date,
		Notiz, Notizen, Bemerkung, Bemerkungen, Kommentar, Grund, Abteilung, Kostenstelle, Austritt, Austrittsdatum, Eintritt, Standort, Firma, Ort, Land, Datum, Beschreibung, Bereich, Gruppe, Funktion, Stelle, Telefon,
		commentaire, commentaires, remarque, remarques, motif, raison, service, département, date, date de départ, date de sortie, site, société, entreprise, ville, pays, équipe, fonction, centre de coûts, statut, téléphone,
		comentario, comentarios, nota, notas, motivo, razón, departamento, fecha, fecha de baja, fecha de salida, empresa, sede, ciudad, país, puesto, cargo, centro de coste, estado, teléfono, grupo,
		备注, 说明, 原因, 部门, 日期, 离职日期, 入职日期, 状态, 地点, 城市, 公司, 职位, 岗位, 电话, 手机, 手机号, 成本中心, 序号, 类型, 時間, 时间, 備註, 部門, 狀態, 公司名称`,
})

func table(lists map[meaning]string) map[string]meaning {
	out := map[string]meaning{}
	for m, list := range lists {
		for name := range strings.SplitSeq(list, ",") {
			out[fold(name)] |= m
		}
	}
	return out
}

func folded(list string) (out []string) {
	for name := range strings.SplitSeq(list, ",") {
		out = append(out, fold(name))
	}
	return out
}

func set(list string) map[string]bool {
	out := map[string]bool{}
	for _, word := range folded(list) {
		out[word] = true
	}
	return out
}

// Where a name of a column has one of these it may be a person, or a machine.
var (
	peopleParts = folded(`user, login, logon, signin, account, principal, mail, employee, owner, assign, leaver, person, staff, colleague, custodian,
		benutz, nutzer, anwender, mitarbeit, konto, kennung, besitz, inhaber, eigentum, anmeld, zugewiesen, zugeordnet, angestellt, kürzel,
		utilisat, usager, identifiant, employe, propriétaire, compte, courriel, collaborat, salarié, titulaire,
		usuari, emplead, cuenta, propietari, correo, asignad, titular, trabajador,
		用户, 用戶, 使用者, 使用人, 员工, 員工, 账号, 帐号, 账户, 帐户, 賬號, 帳號, 帳戶, 登录, 登陆, 登錄, 登入, 邮箱, 邮件, 郵, 所有者, 拥有者, 擁有者, 归属, 责任人, 负责人, 領用, 领用, 姓名, 人员, 人員, 离职,
		gebruik, medewerk, utente, dipendent, proprietari, utilizad, funcionári, użytkownik, pracownik, kullanıc, kullanic, använda, bruger, bruker, käyttäj, uživatel, felhasznál, пользоват, сотрудн, логин, учетн, ユーザ, 社員, 利用者, アカウント, メール, 사용자, 계정, 직원`)
	peopleWords  = set(`uid, upn, sam, usr, usrs, member, holder, agent, who, whose, worker, people`)
	machineParts = folded(`desktop, computer, machine, workstation, device, hostname, laptop, notebook, rechner, gerät, geraet, arbeitsplatz, maschine, ordinateur, appareil, ordenador, computador, maquina, dispositivo,
		计算机, 电脑, 主机, 机器, 设备, 桌面, 虚拟机, 终端, 工作站, 計算機, 電腦, 主機, 機器, 設備, 虛擬機, 終端, コンピュータ, ホスト, 端末`)
	machineWords = set(`pc, pcs, vm, vms, vdi, host, hosts, asset, assets, terminal, endpoint, endpoints, server, serial, mac, ip, os, hardware, imei, cpu, ram, bios, firmware, model, manufacturer, inventory, uuid, guid, node, poste, equipo`)
)

// What a name of a column is about, as its last word, its first one, or its end.
var (
	attributes = set(`date, dates, time, timestamp, day, month, year, since, until, status, state, type, class, category, department, dept, division, team, unit, group, groups, company, organization, organisation, org, office, location, site, building, floor, room, city, country, region, zone,
		phone, telephone, mobile, fax, title, role, roles, position, grade, level, manager, supervisor, number, no, nr, num, count, total, size, price, cost, currency, budget, version, model, manufacturer, vendor, serial, ip, mac, os, enabled, disabled, active, expires, expiry, expiration, expired, created, modified, updated, changed,
		note, notes, comment, comments, remark, remarks, reason, description, ticket, incident, priority, language, locale, domain, ou, sid, path, url, photo, age, gender, birthday, salary, contract, license, licence, licenses, licences, tag`)
	attributesFirst = set(`date, numéro, num, statut, état, estado, fecha, motivo, motif, raison, département, departamento, téléphone, teléfono, lieu, ville, ciudad, pays, país, tipo, número, groupe, grupo`)
	attributeEnds   = folded(`datum, nummer, status, typ, grund, abteilung, telefon, gruppe, 日期, 时间, 時間, 部门, 部門, 编号, 編號, 状态, 狀態, 备注, 備註, 原因, 类型, 類型, 电话, 電話, 职位, 地点, 城市, 数量, 组`)
)
