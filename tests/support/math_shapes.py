r"""Pairs of a gold answer of MATH and one that was found: sets, lists, equations and formulas.

`gold ≡ found ‖ found` are equal, `gold ≢ found ‖ found` are not. Written for these tests.
"""

TABLE = r"""
# empty set
\emptyset ≡ \varnothing ‖ \{\} ‖ \{ \} ‖ ∅ ‖ \text{empty set} ‖ \text{no solution}
\emptyset ≡ \text{There is no solution} ‖ \left\{\right\} ‖ \text{No solutions} ‖ \text{no real solutions}
\emptyset ≢ 0 ‖ \{0\} ‖ \{\emptyset\}
\{0\} ≢ \emptyset
0 ≢ \varnothing
# intervals
(2,\infty) ≡ {x | x > 2} ‖ {x : x > 2} ‖ \{x \in \mathbb{R} \mid x > 2\} ‖ \{t \mid t > 2\}
[2,5] ≡ \{x \mid x \ge 2, x \le 5\} ‖ x ≥ 2 ∧ x ≤ 5
\infty ≡ ∞ ‖ +\infty
[2,\infty) ≡ x\ge 2
x\le 3 ≡ x ≤ 3
x\ge 3 ≡ x≥3
x\ne 3 ≡ x ≠ 3
(-\infty,2)\cup(3,\infty) ≡ (−∞, 2) ∪ (3, ∞)
(-\infty,-2]\cup[2,\infty) ≡ x \le -2 \text{ or } x \ge 2 ‖ x \le -2, x \ge 2 ‖ [2,\infty)\cup(-\infty,-2]
(-\infty,-2]\cup[2,\infty) ≢ (-\infty,-2)\cup(2,\infty)
(-\infty,3)\cup(3,\infty) ≡ x\neq3 ‖ \mathbb{R}\setminus\{3\} ≢ \mathbb{R}
(-\infty,\infty) ≡ \mathbb{R} ‖ ℝ ‖ \text{all real numbers}
(2,5] ≡ 2<x\le5 ‖ 5\ge x>2 ‖ x>2\text{ and }x\le5 ‖ \{x \mid 2 < x \le 5\} ‖ \{x : 2 < x \leq 5\} ‖ x\in(2,5]
(2,5] ≢ 2\le x<5 ‖ [2,5]
(0,1) ≡ 0<x<1 ≢ 0 \le x < 1 ‖ [0,1]
x \in [-2,7] ≡ [-2,7] ‖ -2\le x\le 7 ‖ -2 \le y \le 7
x>5 ≡ 5<x ≢ y>5 ‖ x<5
x<3 ≡ -x>-3 ‖ 2x<6 ≢ x\le3 ‖ x>3
\{-1\}\cup[0,7) ≡ [0,7)\cup\{-1\}
(1,4-\sqrt{3})\cup(4+\sqrt{3},7) ≡ (4+√3,7)∪(1,4−√3)
[0,1)\cup[1,2] ≡ [0,2]
x\ge 2 ≡ [2,+\infty)
\mathbb{R} ≡ x \in \mathbb{R}
x \ne 3 ≡ x \in \mathbb{R}, x \ne 3 ‖ \{x \in \mathbb{R} : x \neq 3\}
(-\infty,-2)\cup(3,\infty) ≡ x<-2 ∪ x>3
5,-3 ≡ x \in \{5,-3\}
-\infty ≡ −∞ ≢ \infty
(1,2) ≢ [1,2]
[1,2] ≡ 1 \le x \le 2 ≢ \{1,2\}
\{x \mid 1 \le x \le 2\} ≡ [1,2]
(5,\infty) ≡ x > 5 ‖ \{x : x > 5\} ≢ (5, \infty]
(-\infty, 0] ≡ x \le 0 ≢ x<0
\{-1\} \cup [0,7) ≡ x=-1 \text{ or } 0 \le x < 7
(0,9) \cup (9,36) ≡ 0<x<36, x \ne 9
x=3 ≢ x \in \{3,4\}
[0,\infty) ≡ x ≥ 0 ≢ [0,\infty]
(-1,1) ≡ -1<x<1 ‖ 1>x>-1
(-\infty,1)\cup(2,\infty) ≡ x<1\lor x>2 ‖ x<1 or x>2 ≢ 1<x<2
[\frac12,\frac32] ≡ [0.5,1.5]
(2,12) \cup (12,102) ≡ (2,102) \setminus \{12\}
# lists
1,2,3 ≢ 1, 2, 3, \ldots ‖ 1,2,3,...
1, 3, 5, \dots ≡ 1,3,5,… ‖ 1, 3, 5, ...
12, 144 ≡ 144, 12 ≢ 12144
5, 125 ≡ 125, 5 ≢ 5125
5 ≢ 5,0
12,144 ≡ 12144 ‖ 12, 144
15,600 ≡ 15600 ‖ 15{,}600
70,110 ≡ 70, 110 ‖ 110, 70
125, 5 ≡ 5,125
1,2,3 ≡ 3, 1, 2 ‖ 1;2;3 ‖ 1, 2, \text{ and } 3 ‖ \{3,2,1\} ‖ (1,2,3) ≢ 3, 1 ‖ 1,2,3,4 ‖ (3,2,1)
\{1,2,3\} ≢ (1,2,3)
\{1,2\} ≡ \{2,1\}
10,100 ≡ 10, 100
(10,100) ≢ 10100
1\pm\sqrt{19} ≡ 1+\sqrt{19}, 1-\sqrt{19} ‖ 1-\sqrt{19}, 1+\sqrt{19} ‖ 1 ± √19 ≢ 1+\sqrt{19}
2,-2 ≡ \pm 2
1,\!000,\!000 ≡ 1\,000\,000
12\text{ and }13 ≡ 12 and 13 ‖ 13, 12 ≢ 12
\pm 5 ≢ 5
6 \text{ or } 7 ≡ 6, 7
0, \pi, 2 \pi ≡ 2\pi, \pi, 0
-\frac{5 \pi}{12}, -\frac{\pi}{12}, \frac{\pi}{12}, \frac{5 \pi}{12} ≡ \pm\frac{\pi}{12}, \pm\frac{5\pi}{12}
\{1\pm\sqrt{5},-2\} ≡ -2, 1+\sqrt5, 1-\sqrt5
2500 ≡ 2{,}500.00
7 ≢ 7,8
1,000 ≢ 1
7, -2, \text{ and } -5 ≡ -5,-2,7
1,1,2 ≡ 1,2,1 ≢ 1,2,2
2, -3, 4 ≡ \{4, 2, -3\}
100, 200 ≡ 200, 100 ≢ 100200
10,080 ≡ 10080 ≢ 10, 80
3i,-3i ≡ -3i, 3i ‖ \pm 3i
# tuples
(x,y)=(3,-1) ≡ (3,-1)
(3,-1) ≡ (x,y)=(3,-1) ‖ x=3, y=-1 ‖ y=-1, x=3 ≢ x=-1, y=3 ‖ (-1,3)
(a,b,c)=(1,2,3) ≡ (1,2,3)
(10,100) ≡ (10,100)
(46,2004) ≡ (46, 2004)
(1,2),(3,4) ≡ (3,4),(1,2) ‖ \{(3,4),(1,2)\} ≢ (2,1),(3,4)
\left( 3, \frac{\pi}{2} \right) ≡ (3, π/2) ‖ r=3, \theta=\frac{\pi}{2}
(1,2] ≢ [1,2)
(1,2) ≡ 1, 2 ‖ \left(x, y\right) = \left(1, 2\right) ‖ x = 1 and y = 2 ≢ 2,1 ‖ (x,y)=(2,1)
(5,3) ≢ (7,2)
(x,y,z)=(1,2,3) ≡ (1,2,3)
(1,2,3) ≡ 1,2,3
(1,234) ≡ (1, 234)
# matrices
\begin{pmatrix}1\\3\end{pmatrix} ≡ \frac{1}{10}\left[\begin{array}{r}10\\30\end{array}\right]
\begin{pmatrix}1\\3\end{pmatrix} ≢ 2\left[\begin{array}{r}1\\3\end{array}\right] ‖ 2\begin{pmatrix}1\\3\end{pmatrix}
(3,-1) ≡ \begin{pmatrix}3\\-1\end{pmatrix}
\begin{pmatrix}1&2\\3&4\end{pmatrix} ≡ \begin{bmatrix}1&2\\3&4\end{bmatrix}
\begin{pmatrix}1&2\\3&4\end{pmatrix} ≡ \left[\begin{array}{cc}1&2\\3&4\end{array}\right]
\begin{pmatrix}1&2\\3&4\end{pmatrix} ≢ \begin{pmatrix}1&3\\2&4\end{pmatrix}
\begin{pmatrix}1/2\\1\end{pmatrix} ≡ \frac12\begin{pmatrix}1\\2\end{pmatrix}
\begin{pmatrix}1/2\\1\end{pmatrix} ≡ \begin{pmatrix}0.5\\1\end{pmatrix}
\begin{pmatrix}-1\\2\end{pmatrix} ≡ -\begin{pmatrix}1\\-2\end{pmatrix}
\begin{pmatrix}1\\2\end{pmatrix} ≢ \begin{pmatrix}1&2\end{pmatrix}
\begin{pmatrix}1\\2\\3\end{pmatrix} ≡ \begin{bmatrix}1\\2\\3\end{bmatrix} ‖ (1,2,3)
\begin{pmatrix}1\\2\\3\end{pmatrix} ≢ \begin{pmatrix}1\\3\\2\end{pmatrix}
\begin{pmatrix}2&0\\0&2\end{pmatrix} ≡ 2\begin{pmatrix}1&0\\0&1\end{pmatrix}
\begin{pmatrix}2&0\\0&2\end{pmatrix} ≢ \begin{pmatrix}2&0\\0&3\end{pmatrix}
\begin{pmatrix}\frac{1}{\sqrt2}\\0\end{pmatrix} ≡ \begin{pmatrix}\sqrt{2}/2\\0\end{pmatrix}
# complex numbers
3+2i ≡ 2i+3 ‖ i(2-3i) ≢ 3-2i
-128 - 128\sqrt{3}i ≡ -128(1+i\sqrt3)
e^{i\pi/2} ≡ i
2i ≢ 2
\frac12+\frac{\sqrt3}{2}i ≡ \text{cis } 60^\circ
1+274i ≡ 274i+1
\sqrt{-1} ≡ i
\sqrt{-4} ≡ 2i
-2-14i ≡ -14i-2
2+i ≡ 2+\mathrm{i} ≢ 2-i
\frac{1}{2}+\frac{\sqrt3}{2}i ≡ e^{i\pi/3}
5i ≢ 5
# equations
\frac{3}{5} ≡ \cos\theta = \frac35 ‖ |x| = 0.6
55 ≡ \sum_{k=1}^{10} k = 55 ≢ \sum_{k=1}^{10} k
17 ≢ m+n=17
5\sqrt{2} ≡ \sqrt{50} = 5\sqrt{2} \approx 7.07
12 ≢ 3 \cdot 4 = 13
x^2+y^2 \le 4 ≡ x^2 + y^2 - 4 \le 0 ≢ x^2+y^2 < 4 ‖ x^2+y^2 \ge 4
y \ge 3x ≡ 3x \le y ≢ y \le 3x
|x-2| \le 3 ≡ 3 \ge |x-2|
(3,-1) ≡ \langle 3,-1\rangle
1\pm\sqrt{19} ≡ x = 1 \pm \sqrt{19}
2x+y=3 ≡ 4x+2y=6 ‖ y=3-2x ≢ 2x+y ‖ 3
x^2+y^2=13 ≡ y^2+x^2-13=0 ≢ x^2+y^2=12
y=2x+3 ≡ 2x+3 ≢ f(x)=2x+3
f(x)=5 ≡ 5
x=5 ≡ 5=x ‖ x=5.0 ≢ y=5
k = 15 ≡ 15
15 ≡ k = 15 ‖ f(3) = 15 ‖ AB = 15 ‖ \text{Area} = 15 ‖ \angle ABC = 15^\circ ‖ 5 + 10 = 15 ‖ x = 5 + 10 = 15
15 ≡ x \approx 15
\frac13 ≡ \frac13 \approx 0.33
f(2) < f(1) < f(4) ≡ f(4) > f(1) > f(2) ≢ f(1) < f(2) < f(4) ‖ f(2), f(1), f(4)
9 ≡ 9 \pmod{11} ‖ (2+1)(2+1)=9
9 \pmod{11} ≢ 9 \pmod{7}
x \equiv 3 \pmod 7 ≡ 3 \pmod{7}
x=5, x=-3 ≡ 5,-3
5,-3 ≡ x=5 \text{ or } x=-3
x=1,y=2 ≢ x=2,y=1
3x-y+13=0 ≢ 3x+4y+14=0
y = -2x ≡ 2x + y = 0 ‖ y+2x=0
10x - 4y - 5z - 20 = 0 ≡ 5z + 4y - 10x + 20 = 0
\frac{x^2}{16} - \frac{y^2}{9} = 1 ≡ 9x^2 - 16y^2 = 144 ≢ \frac{y^2}{9}-\frac{x^2}{16} = 1
3 - 2f(x) ≡ -2f(x)+3 ≢ 3-2x
0 ≢ 5x-7y+11z+4=0
x+y=0 ≢ 0
5x - 7y + 11z + 4 = 0 ≡ -20x+28y-44z-16=0
47 ≡ 5\star 1 = 45 + 2 = 47
-1,2 ≡ x=-1, x=2 ‖ x=-1 \text{ or } x=2
# bases
11011_2 ≡ 11011_{2} ‖ 11011_{\text{two}} ‖ (11011)_2 ‖ 11011 \text{ base } 2 ≢ 11010_2 ‖ 11011_3
152A_{11} ≡ 152A
-221_3 ≡ -221 ≢ 221_3
0.0011_2 ≡ .0011_2
27 ≡ 27_{10} ≢ 33_8
11 ≢ 11_3
443_5 ≡ 443 ‖ 443_{5} ≢ 443_6 ‖ 433_5 ‖ 123
110_2 ≡ 110_\text{two}
6 ≢ 110_2
# ratios
3:1 ≡ 3/1 ‖ 3 \text{ to } 1 ‖ 6:2 ≢ 1:3
1:2 ≡ 0.5 ‖ \frac{1}{2} ≢ 2:1
1:2:3 ≡ 2:4:6
# formulas
0 ≡ \sqrt2-\sqrt2 ‖ \sin \pi ‖ e^{i\pi}+1 ‖ \cos 90^\circ ≢ \infty+1 ‖ \infty-\infty ‖ \sin 10^{-95}
5 ≡ 5. ‖ (5) ‖ 5.0 ‖ 05 ≢ 5x
\sqrt{x^3} ≡ x\sqrt{x}
36x\sqrt{35x} ≡ 36\sqrt{35x^3}
|x| ≡ \sqrt{x^2} ≢ x
x ≢ \sqrt{x^2}
\overline{CD} ≡ \overline{CD} ≢ \overline{AB}
4t ≢ 4
4 ≢ 4t
2k+2 ≡ 2(k+1)
7(x+3)(x-3) ≡ 7x^2-63
-\frac1{2x} ≡ \frac{-1}{2x}
\frac{a}{b} ≡ a/b
\cot x ≡ \frac{\cos x}{\sin x} ≢ \tan x
\sin 3x ≡ 3\sin x-4\sin^3 x
\log_2 8 ≡ 3
2\ln 3 ≡ \ln 9
\binom{5}{2} ≡ 10
5! ≡ 120
\lfloor 3.7 \rfloor ≡ 3
|{-5}| ≡ 5
\frac{\pi^2}{6} ≡ \frac{1}{6}\pi^2
3s^2 ≢ 3
3 ≢ 3s^2
2k ≢ 2
\frac12 ≡ \nicefrac{1}{2} ‖ {1 \over 2}
\frac{n!}{2} ≡ n!/2
\binom{n}{2} ≡ \frac{n(n-1)}{2}
(n+1)! ≡ (n+1) \cdot n!
x+1 ≢ y+1
1-1/e ≢ 1+1/e
p - q ≢ q - p
3qr + 6q - 15r -30 ≡ 3(q-5)(r+2)
9.0 ≡ 9
0.5 ≡ .5
\frac{1}{0} ≡ \frac{1}{0} ≢ \infty
\frac{0}{0} ≢ \frac{1}{0}
12 ≡ 12.
\frac{1}{2} ≡ 0.5 ‖ \dfrac 1 2
1+\frac{1}{e} ≡ \frac{e+1}{e}
x^2+2x+1 ≡ (x+1)^2
"""
