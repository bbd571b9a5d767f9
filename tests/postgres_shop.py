# ruff: noqa: E501 - one line a query
"""A shop in PostgreSQL: twelve tables as pg_dump writes them, and sixty questions, each with its query and a wrong one."""

SCHEMA = r"""--
-- PostgreSQL database dump
--
SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SELECT pg_catalog.set_config('search_path', '', false);
CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public;
CREATE TYPE public.order_status AS ENUM ('cart', 'paid', 'shipped', 'returned');
ALTER TYPE public.order_status OWNER TO shop;
CREATE TABLE public.countries (
    code character(2) NOT NULL,
    name text NOT NULL,
    in_eu boolean DEFAULT false NOT NULL
);
ALTER TABLE public.countries OWNER TO shop;
CREATE TABLE public.customers (
    id integer NOT NULL,
    full_name character varying(80) NOT NULL,
    email text UNIQUE,
    country_code character(2),
    birthday date,
    signed_up timestamp without time zone DEFAULT now() NOT NULL,
    newsletter boolean DEFAULT true NOT NULL,
    preferences jsonb
);
COMMENT ON TABLE public.customers IS 'Everybody who has an account; see also orders';
CREATE SEQUENCE public.customers_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1;
ALTER SEQUENCE public.customers_id_seq OWNED BY public.customers.id;
CREATE TABLE public.categories (id integer NOT NULL, name text NOT NULL, parent_id integer);
CREATE TABLE public.suppliers (id integer NOT NULL, name text NOT NULL, country_code character(2), rating numeric(3,1));
CREATE TABLE public.products (
    id integer NOT NULL,
    name text NOT NULL,
    category_id integer NOT NULL,
    supplier_id integer,
    price numeric(10,2) NOT NULL,
    weight_g integer,
    discontinued boolean DEFAULT false NOT NULL,
    CONSTRAINT products_price_check CHECK ((price > (0)::numeric))
);
CREATE TABLE public.warehouses (id integer NOT NULL, city text NOT NULL, opened date);
CREATE TABLE public.stock (warehouse_id integer NOT NULL, product_id integer NOT NULL, quantity integer DEFAULT 0 NOT NULL);
CREATE TABLE public.orders (
    id integer NOT NULL,
    customer_id integer NOT NULL,
    status public.order_status DEFAULT 'cart'::public.order_status NOT NULL,
    ordered_at timestamp without time zone NOT NULL,
    shipped_at timestamp without time zone,
    voucher text
);
CREATE TABLE public.order_lines (
    order_id integer NOT NULL,
    product_id integer NOT NULL,
    quantity integer NOT NULL,
    unit_price numeric(10,2) NOT NULL
);
CREATE TABLE public.reviews (
    id integer NOT NULL, product_id integer NOT NULL, customer_id integer NOT NULL, stars smallint NOT NULL,
    body text, written_on date NOT NULL, CONSTRAINT reviews_stars_check CHECK (((stars >= 1) AND (stars <= 5)))
);
CREATE TABLE public.employees (
    id integer NOT NULL, full_name text NOT NULL, manager_id integer, warehouse_id integer, hired date NOT NULL,
    salary numeric(10,2) NOT NULL
);
CREATE TABLE public.payments (
    id integer NOT NULL, order_id integer NOT NULL, method text NOT NULL, amount numeric(10,2) NOT NULL, paid_at timestamp
);
ALTER TABLE ONLY public.customers ALTER COLUMN id SET DEFAULT nextval('public.customers_id_seq'::regclass);
COPY public.countries (code, name, in_eu) FROM stdin;
DE	Germany	t
FR	France	t
NO	Norway	f
CH	Switzerland	f
\.
COPY public.customers (id, full_name, email, country_code, birthday, signed_up, newsletter, preferences) FROM stdin;
1	Ada Lund	ada@mail.no	NO	1990-05-17	2022-01-03 09:30:00	t	{"theme": "dark", "size": 3}
2	Bernd Klein	bernd@web.de	DE	1985-11-02	2022-03-15 18:00:00	f	{"theme": "light", "size": 2}
3	Chloe Martin	Chloe@mail.fr	FR	2001-02-28	2022-07-01 00:00:00	t	\N
4	Dirk Anders	\N	DE	\N	2023-02-11 12:45:10	t	{"theme": "dark", "size": 1}
5	Emma Roth	emma@web.de	CH	1979-12-31	2023-06-30 23:59:59	f	\N
6	Finn O'Hara	finn@mail.no	NO	1990-08-08	2024-01-01 00:00:00	t	{"theme": "dark", "size": 5}
\.
COPY public.categories (id, name, parent_id) FROM stdin;
1	Garden	\N
2	Tools	1
3	Seeds	1
4	Kitchen	\N
5	Knives	4
\.
COPY public.suppliers (id, name, country_code, rating) FROM stdin;
1	Nordic Steel	NO	4.5
2	Blum & Co	DE	3.8
3	Alpenholz	CH	\N
\.
COPY public.products (id, name, category_id, supplier_id, price, weight_g, discontinued) FROM stdin;
1	Spade	2	1	39.90	1800	f
2	Rake 12-tine	2	1	25.00	1200	f
3	Tomato seeds	3	2	3.50	20	f
4	Basil seeds	3	2	2.95	15	t
5	Chef knife	5	1	89.00	240	f
6	Paring_knife	5	3	19.50	90	f
7	Cutting board	4	3	45.00	\N	f
8	Hose	1	\N	32.00	2400	f
\.
COPY public.warehouses (id, city, opened) FROM stdin;
1	Oslo	2015-04-01
2	Berlin	2019-09-15
3	Lyon	2023-01-31
\.
COPY public.stock (warehouse_id, product_id, quantity) FROM stdin;
1	1	12
1	5	3
2	1	0
2	2	40
2	3	500
3	3	120
3	6	7
3	7	0
\.
COPY public.orders (id, customer_id, status, ordered_at, shipped_at, voucher) FROM stdin;
1	1	shipped	2023-01-05 10:00:00	2023-01-07 08:00:00	\N
2	1	paid	2023-02-10 21:15:00	\N	WELCOME10
3	2	shipped	2023-02-11 07:00:00	2023-02-11 19:30:00	\N
4	3	returned	2023-03-01 13:00:00	2023-03-04 09:00:00	SPRING
5	4	cart	2023-03-31 00:00:00	\N	\N
6	2	shipped	2023-04-02 16:20:00	2023-04-09 10:00:00	spring
7	6	paid	2024-01-15 11:11:11	\N	\N
8	3	shipped	2024-02-29 08:00:00	2024-03-01 08:00:00	\N
\.
COPY public.order_lines (order_id, product_id, quantity, unit_price) FROM stdin;
1	1	1	39.90
1	3	4	3.50
2	5	1	85.00
3	2	2	25.00
3	3	10	3.20
4	7	1	45.00
5	6	2	19.50
6	1	1	39.90
6	4	3	2.95
7	5	2	89.00
8	3	7	3.50
8	6	1	19.50
\.
COPY public.reviews (id, product_id, customer_id, stars, body, written_on) FROM stdin;
1	1	1	5	Sturdy.	2023-01-20
2	1	2	3	Too heavy, but ok	2023-04-30
3	3	2	4	Grew well	2023-06-01
4	5	1	5	SHARP!	2023-03-03
5	6	3	1	broke	2024-03-10
6	7	3	2	\N	2023-03-20
\.
COPY public.employees (id, full_name, manager_id, warehouse_id, hired, salary) FROM stdin;
1	Greta Holm	\N	1	2015-04-01	72000.00
2	Hans Meier	1	2	2019-10-01	51000.00
3	Ines Petit	1	3	2023-02-01	48000.50
4	Jon Dahl	2	2	2021-05-10	39000.00
5	Kim Berg	2	\N	2022-12-24	41500.00
\.
COPY public.payments (id, order_id, method, amount, paid_at) FROM stdin;
1	1	card	53.90	2023-01-05 10:01:00
2	2	paypal	76.50	2023-02-10 21:16:00
3	3	invoice	82.00	2023-02-25 00:00:00
4	4	card	45.00	2023-03-01 13:05:00
5	6	invoice	48.75	\N
6	7	card	178.00	2024-01-15 11:12:00
7	8	paypal	44.00	2024-02-29 08:00:30
\.
SELECT pg_catalog.setval('public.customers_id_seq', 6, true);
ALTER TABLE ONLY public.countries ADD CONSTRAINT countries_pkey PRIMARY KEY (code);
ALTER TABLE ONLY public.customers ADD CONSTRAINT customers_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.categories ADD CONSTRAINT categories_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.suppliers ADD CONSTRAINT suppliers_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.products ADD CONSTRAINT products_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.warehouses ADD CONSTRAINT warehouses_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.stock ADD CONSTRAINT stock_pkey PRIMARY KEY (warehouse_id, product_id);
ALTER TABLE ONLY public.orders ADD CONSTRAINT orders_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.order_lines ADD CONSTRAINT order_lines_pkey PRIMARY KEY (order_id, product_id);
CREATE INDEX orders_customer_idx ON public.orders USING btree (customer_id);
ALTER TABLE ONLY public.customers
    ADD CONSTRAINT customers_country_fkey FOREIGN KEY (country_code) REFERENCES public.countries(code) ON DELETE SET NULL;
ALTER TABLE ONLY public.products
    ADD CONSTRAINT products_category_fkey FOREIGN KEY (category_id) REFERENCES public.categories(id);
ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_customer_fkey FOREIGN KEY (customer_id) REFERENCES public.customers(id);
ALTER TABLE ONLY public.order_lines
    ADD CONSTRAINT order_lines_order_fkey FOREIGN KEY (order_id) REFERENCES public.orders(id);
ALTER TABLE ONLY public.order_lines
    ADD CONSTRAINT order_lines_product_fkey FOREIGN KEY (product_id) REFERENCES public.products(id);
GRANT SELECT ON TABLE public.customers TO reporting;
"""

QUESTIONS = [  # question, query, wrong query
    ("Which customers signed up in 2022?",
     "SELECT full_name FROM customers WHERE signed_up >= '2022-01-01' AND signed_up < '2023-01-01'",
     "SELECT full_name FROM customers WHERE signed_up >= '2022-01-01' AND signed_up <= '2022-07-01'"),
    ("How many orders were placed in each month?",
     "SELECT DATE_TRUNC('month', ordered_at) AS month, COUNT(*) FROM orders GROUP BY 1 ORDER BY 1",
     "SELECT DATE_TRUNC('year', ordered_at) AS month, COUNT(*) FROM orders GROUP BY 1 ORDER BY 1"),
    ("How many days passed between order and shipping, on average?",
     "SELECT AVG(shipped_at::date - ordered_at::date) FROM orders WHERE shipped_at IS NOT NULL",
     "SELECT AVG(ordered_at::date - shipped_at::date) FROM orders WHERE shipped_at IS NOT NULL"),
    ("Which orders took more than two days to ship?",
     "SELECT id FROM orders WHERE shipped_at - ordered_at > INTERVAL '2 days'",
     "SELECT id FROM orders WHERE shipped_at - ordered_at > INTERVAL '2 hours'"),
    ("What is the latest order of each customer?",
     "SELECT DISTINCT ON (customer_id) customer_id, id, ordered_at FROM orders ORDER BY customer_id, ordered_at DESC",
     "SELECT DISTINCT ON (customer_id) customer_id, id, ordered_at FROM orders ORDER BY customer_id, ordered_at"),
    ("Which customers have an address at mail.no or mail.fr, whatever the case?",
     "SELECT full_name FROM customers WHERE email ILIKE '%@mail.%' ORDER BY full_name",
     "SELECT full_name FROM customers WHERE email LIKE 'chloe@%' ORDER BY full_name"),
    ("List voucher codes used, in capitals, without repetition.",
     "SELECT DISTINCT UPPER(voucher) FROM orders WHERE voucher IS NOT NULL",
     "SELECT DISTINCT voucher FROM orders WHERE voucher IS NOT NULL"),
    ("What is the revenue per product?",
     "SELECT p.name, SUM(l.quantity * l.unit_price) AS revenue FROM order_lines l JOIN products p ON p.id = l.product_id GROUP BY p.id, p.name ORDER BY revenue DESC",
     "SELECT p.name, SUM(l.unit_price) AS revenue FROM order_lines l JOIN products p ON p.id = l.product_id GROUP BY p.id, p.name ORDER BY revenue DESC"),
    ("Which products were never ordered?",
     "SELECT name FROM products p WHERE NOT EXISTS (SELECT 1 FROM order_lines l WHERE l.product_id = p.id)",
     "SELECT name FROM products p WHERE EXISTS (SELECT 1 FROM order_lines l WHERE l.product_id = p.id)"),
    ("Per customer, list the ordered products separated by commas.",
     "SELECT c.full_name, STRING_AGG(DISTINCT p.name, ', ' ORDER BY p.name) FROM customers c JOIN orders o ON o.customer_id = c.id JOIN order_lines l ON l.order_id = o.id JOIN products p ON p.id = l.product_id GROUP BY c.id, c.full_name",
     "SELECT c.full_name, STRING_AGG(DISTINCT p.name, ', ' ORDER BY p.name DESC) FROM customers c JOIN orders o ON o.customer_id = c.id JOIN order_lines l ON l.order_id = o.id JOIN products p ON p.id = l.product_id GROUP BY c.id, c.full_name"),
    ("What is the median product price?",
     "SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY price) FROM products",
     "SELECT PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY price) FROM products"),
    ("How many customers take the newsletter, and how many do not?",
     "SELECT COUNT(*) FILTER (WHERE newsletter), COUNT(*) FILTER (WHERE NOT newsletter) FROM customers",
     "SELECT COUNT(*) FILTER (WHERE newsletter), COUNT(*) FROM customers"),
    ("Which customers prefer the dark theme?",
     "SELECT full_name FROM customers WHERE preferences->>'theme' = 'dark'",
     "SELECT full_name FROM customers WHERE preferences->>'theme' <> 'dark'"),
    ("What is the mean preferred size?",
     "SELECT AVG((preferences->>'size')::int) FROM customers",
     "SELECT MAX((preferences->>'size')::int) FROM customers"),
    ("How old was each customer on 1 January 2024, in whole years?",
     "SELECT full_name, EXTRACT(YEAR FROM AGE(DATE '2024-01-01', birthday)) FROM customers WHERE birthday IS NOT NULL",
     "SELECT full_name, 2024 - EXTRACT(YEAR FROM birthday) FROM customers WHERE birthday IS NOT NULL"),
    ("Rank the employees of each warehouse by salary.",
     "SELECT full_name, warehouse_id, RANK() OVER (PARTITION BY warehouse_id ORDER BY salary DESC) FROM employees",
     "SELECT full_name, warehouse_id, RANK() OVER (ORDER BY salary DESC) FROM employees"),
    ("Who is whose manager?",
     "SELECT e.full_name, m.full_name AS manager FROM employees e LEFT JOIN employees m ON m.id = e.manager_id",
     "SELECT e.full_name, m.full_name AS manager FROM employees e JOIN employees m ON m.id = e.manager_id"),
    ("List all subordinates of Greta Holm, direct or not.",
     "WITH RECURSIVE below AS (SELECT id, full_name FROM employees WHERE full_name = 'Greta Holm' UNION ALL SELECT e.id, e.full_name FROM employees e JOIN below b ON e.manager_id = b.id) SELECT full_name FROM below WHERE full_name <> 'Greta Holm'",
     "SELECT e.full_name FROM employees e JOIN employees m ON e.manager_id = m.id WHERE m.full_name = 'Greta Holm'"),
    ("Which three products cost most?",
     "SELECT name, price FROM products ORDER BY price DESC LIMIT 3",
     "SELECT name, price FROM products ORDER BY price LIMIT 3"),
    ("Which suppliers are best rated, unrated ones last?",
     "SELECT name, rating FROM suppliers ORDER BY rating DESC NULLS LAST",
     "SELECT name, rating FROM suppliers ORDER BY rating NULLS LAST"),
    ("Which suppliers are worst rated?",
     "SELECT name FROM suppliers ORDER BY rating ASC, name",
     "SELECT name FROM suppliers ORDER BY rating ASC NULLS FIRST, name"),
    ("How many products of each category are there, also of empty ones?",
     "SELECT c.name, COUNT(p.id) FROM categories c LEFT JOIN products p ON p.category_id = c.id GROUP BY c.id ORDER BY c.name",
     "SELECT c.name, COUNT(*) FROM categories c LEFT JOIN products p ON p.category_id = c.id GROUP BY c.id ORDER BY c.name"),
    ("Which countries have more than one customer?",
     "SELECT co.name FROM countries co JOIN customers c ON c.country_code = co.code GROUP BY co.code, co.name HAVING COUNT(*) > 1",
     "SELECT co.name FROM countries co JOIN customers c ON c.country_code = co.code GROUP BY co.code, co.name HAVING COUNT(*) >= 1"),
    ("What did each customer pay in all, zero if nothing?",
     "SELECT c.full_name, COALESCE(SUM(p.amount), 0) FROM customers c LEFT JOIN orders o ON o.customer_id = c.id LEFT JOIN payments p ON p.order_id = o.id GROUP BY c.id, c.full_name",
     "SELECT c.full_name, SUM(p.amount) FROM customers c LEFT JOIN orders o ON o.customer_id = c.id LEFT JOIN payments p ON p.order_id = o.id GROUP BY c.id, c.full_name"),
    ("Which orders are unpaid for more than ten days after the order of 2 April 2023?",
     "SELECT o.id FROM orders o JOIN payments p ON p.order_id = o.id WHERE p.paid_at IS NULL OR p.paid_at > o.ordered_at + INTERVAL '10 days'",
     "SELECT o.id FROM orders o JOIN payments p ON p.order_id = o.id WHERE p.paid_at > o.ordered_at + INTERVAL '10 days'"),
    ("Show each employee's years of service on 2024-06-30.",
     "SELECT full_name, EXTRACT(YEAR FROM AGE('2024-06-30'::date, hired))::int AS years FROM employees",
     "SELECT full_name, (EXTRACT(YEAR FROM '2024-06-30'::date) - EXTRACT(YEAR FROM hired))::int AS years FROM employees"),
    ("Give the month of each review as text like 2023-04.",
     "SELECT id, TO_CHAR(written_on, 'YYYY-MM') FROM reviews",
     "SELECT id, TO_CHAR(written_on, 'MM-YYYY') FROM reviews"),
    ("What is the first name of each customer?",
     "SELECT SPLIT_PART(full_name, ' ', 1) FROM customers",
     "SELECT SPLIT_PART(full_name, ' ', 2) FROM customers"),
    ("Which products have a digit in their name?",
     "SELECT name FROM products WHERE name ~ '[0-9]'",
     "SELECT name FROM products WHERE name !~ '[0-9]'"),
    ("Which products have an underscore in their name?",
     r"SELECT name FROM products WHERE name LIKE '%\_%'",
     "SELECT name FROM products WHERE name LIKE '%_%'"),
    ("What share of the orders was shipped, in percent with one digit?",
     "SELECT ROUND(100.0 * COUNT(*) FILTER (WHERE status = 'shipped') / COUNT(*), 1) FROM orders",
     "SELECT ROUND(100 * COUNT(*) FILTER (WHERE status = 'shipped') / COUNT(*), 1) FROM orders"),
    ("Half the number of reviews of each product, as a whole number?",
     "SELECT product_id, COUNT(*) / 2 AS half FROM reviews GROUP BY product_id",
     "SELECT product_id, COUNT(*) / 2.0 AS half FROM reviews GROUP BY product_id"),
    ("Which statuses occur, with their numbers of orders?",
     "SELECT status, COUNT(*) FROM orders GROUP BY status",
     "SELECT status, COUNT(shipped_at) FROM orders GROUP BY status"),
    ("Which customers ordered in both 2023 and 2024?",
     "SELECT customer_id FROM orders WHERE EXTRACT(YEAR FROM ordered_at) = 2023 INTERSECT SELECT customer_id FROM orders WHERE EXTRACT(YEAR FROM ordered_at) = 2024",
     "SELECT customer_id FROM orders WHERE EXTRACT(YEAR FROM ordered_at) = 2023 UNION SELECT customer_id FROM orders WHERE EXTRACT(YEAR FROM ordered_at) = 2024"),
    ("What is the running total of payments over time?",
     "SELECT id, SUM(amount) OVER (ORDER BY paid_at, id) FROM payments WHERE paid_at IS NOT NULL",
     "SELECT id, SUM(amount) OVER (ORDER BY id DESC) FROM payments WHERE paid_at IS NOT NULL"),
    ("How long after the previous order of the same customer was each order placed, in hours?",
     "SELECT id, EXTRACT(EPOCH FROM ordered_at - LAG(ordered_at) OVER (PARTITION BY customer_id ORDER BY ordered_at)) / 3600 AS hours FROM orders",
     "SELECT id, EXTRACT(EPOCH FROM ordered_at - LAG(ordered_at) OVER (ORDER BY ordered_at)) / 3600 AS hours FROM orders"),
    ("Which products are out of stock in some warehouse?",
     "SELECT DISTINCT p.name FROM products p JOIN stock s ON s.product_id = p.id WHERE s.quantity = 0",
     "SELECT DISTINCT p.name FROM products p JOIN stock s ON s.product_id = p.id WHERE s.quantity > 0"),
    ("Which warehouse holds the most pieces?",
     "SELECT w.city FROM warehouses w JOIN stock s ON s.warehouse_id = w.id GROUP BY w.id, w.city ORDER BY SUM(s.quantity) DESC FETCH FIRST 1 ROW ONLY",
     "SELECT w.city FROM warehouses w JOIN stock s ON s.warehouse_id = w.id GROUP BY w.id, w.city ORDER BY SUM(s.quantity) FETCH FIRST 1 ROW ONLY"),
    ("Label each product cheap (below 10), medium or dear (from 50).",
     "SELECT name, CASE WHEN price < 10 THEN 'cheap' WHEN price < 50 THEN 'medium' ELSE 'dear' END AS class FROM products",
     "SELECT name, CASE WHEN price < 10 THEN 'cheap' WHEN price < 90 THEN 'medium' ELSE 'dear' END AS class FROM products"),
    ("Which customers have no e-mail address?",
     "SELECT full_name FROM customers WHERE email IS NULL",
     "SELECT full_name FROM customers WHERE email = ''"),
    ("What does each review say, 'no comment' if nothing?",
     "SELECT id, COALESCE(body, 'no comment') FROM reviews",
     "SELECT id, body FROM reviews"),
    ("Show names and countries as one text, like Ada Lund (NO).",
     "SELECT full_name || ' (' || country_code || ')' FROM customers WHERE newsletter",
     "SELECT full_name || ' ' || country_code FROM customers WHERE newsletter"),
    ("Show name and e-mail as one text, also without e-mail.",
     "SELECT CONCAT(full_name, ' <', email, '>') FROM customers",
     "SELECT full_name || ' <' || email || '>' FROM customers"),
    ("Which orders were placed on a weekend?",
     "SELECT id FROM orders WHERE EXTRACT(DOW FROM ordered_at) IN (0, 6)",
     "SELECT id FROM orders WHERE EXTRACT(ISODOW FROM ordered_at) IN (0, 6)"),
    ("Which orders were placed in the first quarter of 2023?",
     "SELECT id FROM orders WHERE ordered_at >= DATE '2023-01-01' AND ordered_at < DATE '2023-01-01' + INTERVAL '3 months'",
     "SELECT id FROM orders WHERE ordered_at >= DATE '2023-01-01' AND ordered_at < DATE '2023-01-01' + INTERVAL '2 months'"),
    ("Orders up to and including 31 March 2023?",
     "SELECT id FROM orders WHERE ordered_at::date <= '2023-03-31'",
     "SELECT id FROM orders WHERE ordered_at < '2023-03-31'"),
    ("Which customers of EU countries ordered something?",
     "SELECT DISTINCT c.full_name FROM customers c JOIN countries co ON co.code = c.country_code JOIN orders o ON o.customer_id = c.id WHERE co.in_eu",
     "SELECT DISTINCT c.full_name FROM customers c JOIN countries co ON co.code = c.country_code JOIN orders o ON o.customer_id = c.id WHERE co.in_eu IS NOT TRUE"),
    ("What is the standard deviation of the salaries, with two digits?",
     "SELECT ROUND(STDDEV(salary), 2) FROM employees",
     "SELECT ROUND(STDDEV_POP(salary), 2) FROM employees"),
    ("What is the higher of price and 20 for each product?",
     "SELECT name, GREATEST(price, 20) FROM products",
     "SELECT name, LEAST(price, 20) FROM products"),
    ("Which products cost more than the average of their category?",
     "SELECT p.name FROM products p WHERE p.price > (SELECT AVG(q.price) FROM products q WHERE q.category_id = p.category_id)",
     "SELECT p.name FROM products p WHERE p.price > (SELECT AVG(q.price) FROM products q)"),
    ("Which orders used one of the vouchers WELCOME10 and SPRING?",
     "SELECT id FROM orders WHERE voucher = ANY(ARRAY['WELCOME10', 'SPRING'])",
     "SELECT id FROM orders WHERE voucher = ANY(ARRAY['WELCOME10'])"),
    ("What is the best review of each product, the newest first if several?",
     "SELECT product_id, stars, body FROM (SELECT r.*, ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY stars DESC, written_on DESC) AS n FROM reviews r) x WHERE n = 1",
     "SELECT product_id, stars, body FROM (SELECT r.*, ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY stars, written_on DESC) AS n FROM reviews r) x WHERE n = 1"),
    ("Raise the salaries of those hired before 2020 by 3 percent.",
     "UPDATE employees SET salary = salary * 1.03 WHERE hired < '2020-01-01'",
     "UPDATE employees SET salary = salary * 1.03 WHERE hired >= '2020-01-01'"),
    ("Delete reviews of a single star.",
     "DELETE FROM reviews WHERE stars = 1",
     "DELETE FROM reviews WHERE stars <= 2"),
    ("Mark products without stock anywhere as discontinued.",
     "UPDATE products p SET discontinued = TRUE WHERE NOT EXISTS (SELECT 1 FROM stock s WHERE s.product_id = p.id AND s.quantity > 0)",
     "UPDATE products p SET discontinued = TRUE WHERE NOT EXISTS (SELECT 1 FROM stock s WHERE s.product_id = p.id)"),
    ("Were all orders of each customer shipped?",
     "SELECT customer_id, BOOL_AND(status = 'shipped') FROM orders GROUP BY customer_id",
     "SELECT customer_id, BOOL_OR(status = 'shipped') FROM orders GROUP BY customer_id"),
    ("How many characters has each product name without blanks?",
     "SELECT name, LENGTH(REPLACE(name, ' ', '')) FROM products",
     "SELECT name, LENGTH(name) FROM products"),
    ("Which two products of each category cost least?",
     "SELECT c.name, x.name FROM categories c CROSS JOIN LATERAL (SELECT p.name FROM products p WHERE p.category_id = c.id ORDER BY p.price LIMIT 2) x",
     "SELECT c.name, x.name FROM categories c CROSS JOIN LATERAL (SELECT p.name FROM products p WHERE p.category_id = c.id ORDER BY p.price DESC LIMIT 2) x"),
    ("Show revenue by category and in all.",
     "SELECT p.category_id, SUM(l.quantity * l.unit_price) FROM order_lines l JOIN products p ON p.id = l.product_id GROUP BY ROLLUP (p.category_id)",
     "SELECT p.category_id, SUM(l.quantity * l.unit_price) FROM order_lines l JOIN products p ON p.id = l.product_id GROUP BY p.category_id"),
    ("Number of orders on each day of the first week of 2023, also of days without orders?",
     "SELECT d::date, COUNT(o.id) FROM generate_series('2023-01-01'::date, '2023-01-07'::date, INTERVAL '1 day') AS d LEFT JOIN orders o ON o.ordered_at::date = d::date GROUP BY d ORDER BY d",
     "SELECT ordered_at::date, COUNT(id) FROM orders WHERE ordered_at < '2023-01-08' GROUP BY 1 ORDER BY 1"),
]  # fmt: skip
