r"""Pairs of a gold answer of MATH and one that was found: numbers and what stands around them.

`gold ≡ found ‖ found` are equal, `gold ≢ found ‖ found` are not. Written for these tests.
"""

TABLE = r"""
# times of day
9\text{ a.m.} ≡ 9:00\text{ a.m.} ‖ \text{9 a.m.} ‖ 9 AM ‖ 9\text{ am} ‖ 9:00 ‖ 9\text{ o'clock}
9\text{ a.m.} ≡ 9\text{ in the morning} ‖ 9{:}00\text{ a.m.} ‖ 9am ‖ 9:00AM
9\text{ a.m.} ≢ 9\text{ p.m.} ‖ 21:00 ‖ 9 ‖ 9:30\text{ a.m.}
\text{4:30 p.m.} ≡ 4:30 \text{ PM} ‖ 16:30 ‖ 4:30 \text{ p.m.} ≢ 4:30 a.m. ‖ 4:30
\text{1:03 PM} ≡ 1:03\text{ p.m.} ‖ 13:03
12\text{ p.m.} ≡ \text{noon} ≢ \text{midnight}
12\text{ a.m.} ≡ \text{midnight}
\text{noon} ≡ 12:00 \text{ noon}
9 ≢ 9:00
# bounds
5\text{ or less} ≡ \text{at most } 5 ‖ x \le 5 ‖ 5 or fewer ‖ (-\infty,5]
5\text{ or less} ≢ 5\text{ or more} ‖ 5 ‖ \text{less than } 5
5\text{ or more} ≡ \text{at least } 5 ‖ \ge 5 ‖ x\ge5 ‖ [5,\infty) ≢ 5
5 ≢ 5\text{ or more}
\text{more than }5 ≡ x>5 ≢ 5\text{ or more}
\text{at least }5 ≡ \text{no less than }5 ‖ 5\text{ at least} ≢ \text{at most }5
# units
5 ≡ 5cm ‖ 5 m ‖ 5 km/h ‖ 5 cm² ‖ 5\text{ km/h} ‖ 5m ‖ 5m^2 ‖ 5 sq ft ‖ 5\text{ pieces of candy}
5\text{ cm}^2 ≡ 5 cm² ‖ 5 \text{ square centimeters} ‖ 5 \text{ sq. cm} ≢ 5 \text{ cm}
73 ≡ \text{73 km}
25\text{ km} ≡ 25 ‖ 25 kilometers ‖ 25\,\mathrm{km} ≢ 25 \text{ miles}
25 ≡ 25\text{ km}
5\text{ cm} ≡ 5 cm ‖ 5cm ≢ 5\text{ m}
5\text{ cm}^3 ≡ 5 cubic cm
45\text{ mph} ≡ 45\text{ miles per hour} ‖ 45 \frac{\text{miles}}{\text{hour}} ‖ 45 \text{ mi/h}
5\text{ m/s}^2 ≡ 5\,\frac{m}{s^2}
5\text{ m/s} ≢ 5\text{ m/s}^2
18\text{ ways.} ≡ 18 ‖ 18 ways ‖ 18 different ways
65 \text{ children tickets } ≡ 65\text{ tickets}
5\text{ apples} ≢ 5\text{ oranges}
45 \text{ units}^2 ≡ 45 \text{ square units}
5\text{ inches} ≡ 5 in. ‖ 5 in ≢ 5''
5\text{ m} ≡ 5m ‖ 5\text{ meters} ‖ 5\textrm{ m} ‖ 5 \operatorname{m} ‖ 5 metres ‖ 5~\mathrm{m}
135\text{ square feet} ≡ 135 ft² ‖ 135 \text{ft}^2 ‖ 135 sq. ft.
\frac{68}{3}\text{ pounds} ≡ \frac{68}{3} lbs
12 \text{ gm} ≡ 12 g ≢ 12 kg
162\text{ minutes} ≡ 162 min ≢ 162\text{ hours}
5\text{ feet} ≡ 5\text{ feet tall}
12 ≡ 12\text{ years old} ‖ \text{12 apples} ‖ 12 \; \text{apples.}
5\text{ BC} ≢ 5\text{ AD}
7 \text{ R } 2 ≢ 7
10\text{ in}^2 ≡ 10 \text{ square inches}
10\text{ in} ≡ 10
10 ≡ 10 in total
-5 ≢ 5\text{ below zero}
\frac{\pi}{4} ≡ \frac{\pi}{4}\text{ radians}
2\sqrt{3} ≡ 2\sqrt{3}\text{ units} ‖ 2√3 cm
2x ≡ 2x\text{ cm}
100\pi ≡ 100\pi \text{ cm}^3 ‖ 100π cm³
99\pi \text{ square inches} ≡ 99\pi\text{ in}^2
8\sqrt{3} \text { square inches} ≡ 8\sqrt{3} sq in
864 \mbox{ inches}^2 ≡ 864 \text{ in.}^2
5\text{ m}^2 ≡ 5\text{ m squared}
5\text{ m}^3 ≡ 5\text{ cubic meters}
17\text{ meters} ≡ 17m
18\text{ hours} ≡ 18 hrs ‖ 18 h ≢ 18\text{ minutes}
15\mbox{ cm}^2 ≡ 15\,\text{cm}^{2} ≢ 15\,\text{cm}^{3}
60 ≡ 60\text{ km per hour}
60\text{ km/h} ≡ 60\text{ kph} ‖ 60\,\text{km}\cdot\text{h}^{-1} ≢ 60\text{ mph}
# money
\$5\text{ per hour} ≡ 5\text{ dollars per hour} ‖ 5 dollars/hour ≢ \$5\text{ per day}
118 \text{ dollars} ≡ \$118 ‖ \$118.00
\$15,\!000 ≡ 15000\text{ dollars} ‖ 15,000 USD
5.4 \text{ cents} ≡ 5.4¢ ≢ \$5.40
-\$0.50 ≡ -0.5 ‖ \$-0.50
\$18.90 ≡ 18.9 ≢ 18.91
\$16,\!386.16 ≡ 16{,}386.16 ≢ 16386.17
5\$ ≡ \$5
5 ≡ 5 dollars per hour
5\text{ dollars per hour} ≢ 5\text{ dollars per day}
\$32,\!348 ≡ \$32348 ‖ 32,348 dollars
\$6 ≡ 6 ≢ €6
\$20 ≡ 20 dollars ‖ \text{\$20} ‖ \$20.00 ≢ 20\%
\$115,000 ≡ 115000
40\% ≢ 40 dollars
# percent
50\% ≡ 50\text{ percent} ‖ 50 ‖ 50 percent ≢ 0.5 ‖ 5\%
33\frac{1}{3}\% ≡ 33 1/3\%
7.2\% ≡ 7.2 percent ≢ 0.072
33\frac13\% ≡ 33.\overline{3}\%
40\% ≡ 40\% ‖ 40 \% ‖ \text{40\%} ≢ .4
0.5\% ≡ 0.5 ≢ 50\%
# degrees
45^\circ ≡ 45° ‖ 45\degree ‖ 45^{\circ }
90^\circ ≡ 90\text{ degrees} ‖ 90 ‖ 90° ‖ 90^{\text{o}} ≢ \pi/2 ‖ 9^\circ
20^\circ C ≡ 20°C
\cos 58^\circ ≡ \cos(58°) ‖ \sin 32^\circ ≢ \cos 59^\circ
27^\circ, 63^\circ ≡ 63°, 27°
\frac{\pi}{4} ≢ 45^\circ
\left( 3, \frac{\pi}{2} \right) ≢ (3, 90^\circ)
30^\circ ≡ 30^{\circ} ‖ 30\,^\circ ‖ 30 deg ‖ 30^o ‖ 30º ≢ 30^\circ\text{C}
-5^\circ ≡ –5°
\frac{1}{2} ≡ \sin 30^\circ ≢ \sin 30
# number words
3\text{ million} ≡ 3000000 ‖ 3,000,000 ‖ 3 \times 10^6 ‖ 3 million dollars ‖ 3 million ‖ 3 millions
3\text{ million} ≢ 3 ‖ 3\text{ billion}
2.5\text{ billion} ≡ 2500000000 ≢ 2.5
3\text{ dozen} ≡ 36 ≢ 3
3\text{ dozen eggs} ≡ 36\text{ eggs}
\$3\text{ million} ≡ \$3,000,000
12\text{ thousand} ≡ 12000
4\text{ hundred} ≡ 400
3000 ≡ 3\text{ thousand}
3 ≡ 3\text{ times} ≢ 3\text{ thousand} ‖ 3\text{ fourths}
\text{five} ≡ 5
\text{twenty-five} ≡ 25
7 ≡ \text{seven}
5 ≡ 5th ≢ 5\text{ squared} ‖ 5\text{ factorial}
10^{\text{th}} ≡ 10
12 ≡ \text{dozen} ≢ 12\text{ dozen}
\frac34 ≡ 3\text{ fourths}
\frac12 ≡ \text{one half} ‖ \text{half}
1.5\text{ million} ≡ 1{,}500{,}000
\frac{2}{3} ≡ \text{two thirds}
144 ≡ 12\text{ dozen}
# words and letters
\text{Evelyn} ≡ evelyn ≢ Angela
\text{east} ≢ \text{west}
\text{(B)} ≡ (B) ‖ B ≢ C
\text{A,C,F} ≡ C, A, F ≢ A, C
\text{ACF} ≡ ACF
\text{June 20} ≡ June 20 ≢ June 21
\text{even} ≡ Even ≢ \text{odd}
\text{true} ≢ \text{false}
\text{Yes} ≡ yes
5 ≢ 5\text{ west} ‖ 5\text{ BC}
5\text{ west} ≢ 5\text{ east}
\text{undefined} ≢ 0
\text{Navin} ≡ \text{navin}
\text{neither} ≡ Neither
\text{circle} ≢ \text{a circle}
\mbox{Saturday} ≡ Saturday
\text{B, E, G} ≡ B,E,G ‖ \text{E, B, and G}
B, C ≡ \text{B and C}
A ≡ \text{(A)} ‖ (A) ≢ B
\text{Friday} ≡ friday ≢ \text{Monday}
\text{C} ≢ D
# decimals
\frac13 ≡ 0.333\ldots ‖ 0.3333... ≢ 0.33… ‖ 0.334…
\frac{1}{6} ≡ 0.1666\dots
\frac{1}{3} ≡ 0.\overline{3}
\frac13 ≡ 0.333333 ‖ 0.\dot{3} ‖ .\overline{3} ≢ 0.3333 ‖ 0.333334
\frac16 ≡ 0.1\overline{6} ‖ 0.166667 ‖ 0.166666 ‖ 0.1\bar{6} ≢ 0.\overline{16}
\frac{16}{99} ≡ 0.\overline{16}
\frac{41}{333} ≡ 0.\overline{123}
1 ≡ 0.\overline{9}
2.\overline{3} ≡ \frac73
\pi ≡ 3.14159 ≢ 3.1416 ‖ 3.14 ‖ 22/7
\sqrt{2} ≡ 1.41421 ≢ 1.41422
10\sqrt2 ≡ 14.1421
0.3 ≡ 0.30000000000000004
\frac{3}{56} ≡ 0.0535714285714164
\frac{7}{30} ≡ 0.2\overline{3}
\frac{1}{7} ≡ 0.\overline{142857} ‖ 0.142857 ≢ 0.142858
\frac{5}{11} ≡ .\overline{45} ≢ 0.\overline{54}
-\frac13 ≡ -0.\overline{3}
16 ≡ 15.\overline{9}
# sizes of numbers
\frac{1}{2^{99}} ≡ 2^{-99} ≢ \frac{1}{2^{98}} ‖ 0
2^{2005} ≡ 4\cdot 2^{2003} ≢ 2^{2005}+1 ‖ 2^{2004}
\frac{1}{2004!} ≡ \frac{2005}{2005!} ≢ \frac{1}{2005!}
10^{-7} ≡ 0.0000001 ≢ 0 ‖ 10^{-8}
2{,}598{,}960 ≡ 2,598,960 ≢ 2598961
1000000 ≡ \text{one million} ≢ 1000000.1
0.000333333 ≡ 1/3000
0.1 ≡ 0.10000000000000001 ≢ 0.100001
1,\!000,\!000 ≡ 1 000 000 ‖ 10^6
6.02\times10^{23} ≡ 6.02e23
12345.67 ≡ 12 345.67
2,\!598,\!960 ≡ 2598960\text{ hands}
3^{2007} ≡ 3 \cdot 3^{2006}
1.5\times 10^{3} ≡ 1500
1.5 \cdot 10^{-3} ≡ 0.0015
10,\!000 ≡ 10000
26000 ≡ 1000(26)
10^{-3} ≡ 10⁻³
10^{100} ≡ 10^{99}\cdot 10 ≢ 10^{100}+1
e^{-300} ≢ 0
\frac{1}{10^{50}} ≢ 0
0.000001 ≢ 0.000002
123456789 ≢ 123456788
999999 ≢ 1000000
1,234,567 ≡ 1234567
# mixed numbers
\frac{7}{2} ≡ 3 1/2 ‖ 3\frac{1}{2} ‖ 3\dfrac12 ‖ 3 \tfrac{1}{2}
\frac{5}{2} ≡ 2½ ‖ 2 ½
-\frac72 ≡ -3\frac12 ‖ -3 1/2
\frac{3}{2} ≢ 3\frac12
3\cdot\frac12 ≡ \frac32
11 \frac{2}{3} ≡ 35/3
1\frac{12}{13} ≡ 25/13
\frac{2\pi}{3} ≡ 2\frac{\pi}{3}
\frac72 ≡ 3{\frac{1}{2}} ‖ 3~\frac12 ≢ 3\left(\frac12\right)
\frac32 ≡ 3\left(\frac12\right)
2.5 ≡ 2 1/2 ≢ 2 3/2
1\frac{1}{4} ≡ 1.25 ‖ 1 1/4 ‖ 1+\frac14 ≢ \frac14
137 \frac{1}{2} ≡ 137.5
1 ≢ 2\frac12
# roots
\frac{1}{\sqrt{n}} ≡ \sqrt{1/n}
4\sqrt{2} ≡ 4\sqrt(2) ‖ 4\sqrt2 ‖ 4*sqrt(2) ‖ \sqrt{32} ‖ 4^{1/2}\cdot 2\sqrt2 ‖ 4\sqrt 2 ‖ 4sqrt2
4\sqrt{2} ≢ \sqrt[4]{2} ‖ 2\sqrt{4}
2 ≡ \sqrt[3]{8}
-2 ≡ \sqrt[3]{-8}
\sqrt{12} ≡ 2\sqrt3
\sqrt{n} ≡ \frac{n}{\sqrt{n}}
\frac{1}{\sqrt{10}} ≡ \frac{\sqrt{10}}{10}
# unicode
\sqrt{2} ≡ √2
\frac{1}{2} ≡ ½
-5 ≡ –5
\frac{\sqrt{3}}{2} ≡ √3/2 ‖ (√3)/2
2\sqrt{12} ≡ 2√12
\frac{3}{4} ≡ ¾
-\frac12 ≡ −½
x-5 ≡ x – 5
12\pi ≡ 12π
6x ≡ 6 × x ‖ 6·x
\frac{6}{x} ≡ 6 ÷ x
x^2 ≡ x²
x^3+x^2 ≡ x³ + x²
x^{-1} ≡ x⁻¹
x_1 ≡ x₁
\frac{1}{3} ≡ ⅓
\frac{x}{3} ≡ x⁄3
3 ≡ √9
2 ≡ ∛8
2\pi ≡ 2π
\theta ≡ θ
a^2+b^2 ≡ a²+b²
\pm 2 ≡ ±2
4\sqrt{2} ≡ 4√2 ‖ 4√(2)
\sqrt{12} ≡ √12
# fonts and sizes
(3,-1) ≡ \bigl(3,-1\bigr) ‖ \left(3,-1\right) ‖ \Big(3,-1\Big)
5 ≡ \boldsymbol{5} ‖ \textcolor{blue}{5} ‖ \mathbf{5} ‖ \textbf{5} ‖ \color{red}5 ‖ {\color{red} 5}
5 ≡ \color{blue}{5} ‖ \displaystyle 5 ‖ \boxed{5} ‖ **5** ‖ $5$ ‖ \(5\) ‖ \underline{5} ‖ \text{5}
5 ≡ \color[rgb]{1,0,0}{5} ‖ \mathrm{5} ‖ \mathit{5} ‖ \bm{5} ‖ \text{\textbf{5}} ‖ \color{green}{\boxed{5}}
5 ≢ \textcolor{red}{6}
\frac12 ≡ \textstyle\frac12
\text{Evelyn} ≡ \textbf{Evelyn}
\text{(B)} ≡ \textbf{(B)}
\frac{3}{2} ≡ \\frac{3}{2}
(1,2) ≡ \boldsymbol{(1,2)}
\frac{x+1}{2} ≡ \bigg(\frac{x+1}{2}\bigg)
\{1,2\} ≡ \Bigl\{1,2\Bigr\}
x ≡ \mathbf{x} ≢ \mathbf{y}
\frac{1}{2} ≡ \scriptstyle\frac12
\text{MAKE} ≡ \textbf{MAKE}
"""
